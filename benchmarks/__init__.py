"""What docs/performance.md quotes: `python -m benchmarks` prints all of it.

Every figure is a ratio to a named peer, measured in the same process.
"""
