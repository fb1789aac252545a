"""CUDA C to machine code, with nvcc or NVRTC, and the cache of what was compiled."""
