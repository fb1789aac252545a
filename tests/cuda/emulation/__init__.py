"""A CUDA driver for tests that runs the unchanged kernels on the CPU, compiled by g++.

It finds what a GPU leaves to chance: deadlocks and divergent barriers, lanes outside their masks,
reads of memory that nobody wrote (it holds NaN), writes outside an array, launches that a device
would refuse. Under the address and the thread sanitizer (`tests/cuda/test_under_*_sanitizer.py`)
also every access out of bounds and every race of two threads of a block. It says nothing about
speed.

    cuda_emulation.h    the language; the headers beside it are its parts
    build.py            .cu to .so
    memory.py           device memory, with guards
    driver.py           caffe_spn.cuda.device.driver.Driver
    strict.py           a Runtime whose arrays never reuse memory
    blas.py             NumPy in the place of cuBLAS and cuDNN
    sanitizers.py       Python under the sanitizers
    arrays.py           copies to and from a device
    kernels.cu, faults.cu, variants.cu      what the emulation itself is tested with
"""
