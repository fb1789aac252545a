"""The GPU path: CUDA C sources and their launcher. This version has none yet; see device.py."""
