"""CUDA C sources and the launcher that compiles and calls them."""
