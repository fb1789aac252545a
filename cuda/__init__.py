"""The GPU path: CUDA C sources, and the Python that compiles and launches them.

    runtime         opens a device, once for the process
    array           an array in a device's memory
    NAME.cu         kernels; NAME.py beside it checks shapes and launches them
    convolution     chooses what convolves: a kernel of our own, cuDNN, or im2col and cuBLAS
    gemm            matrix products, by cuBLAS
    interop         arrays of other libraries, by DLPack (dlpack) or the CUDA array interface
    faults          errors that only the device sees, such as a label that is no class
    device/         the opened device behind one interface to the driver, which PyCUDA implements
    compiling/      CUDA C to machine code, with nvcc or NVRTC, and the cache on disk
    nvidia/         NVIDIA's libraries: where they are, cuBLAS, cuDNN

Importing the package needs no driver, no PyCUDA and no compiler; they are looked for when a device
is opened (`runtime.open_device`, which `caffe_spn.set_device` and `set_mode_gpu` call).
"""
