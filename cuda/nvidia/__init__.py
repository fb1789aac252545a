"""NVIDIA's libraries through ctypes: where they are, cuBLAS, cuDNN."""
