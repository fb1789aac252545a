"""The documentation, and the code that makes and checks parts of it; not installed."""
