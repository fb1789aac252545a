"""The GPU path: CUDA C sources, and the Python that compiles and launches them.

Importing the package needs no driver, no PyCUDA and no compiler; they are looked for when a device
is opened (`runtime.open_device`, which `caffe_spn.set_device` and `set_mode_gpu` call).

    driver          what is needed of a CUDA driver, and nothing else; PyCUDA implements it
    compiler        CUDA C to machine code, with nvcc or NVRTC, and the cache on disk
    runtime         opens a device, once for the process
    opened          the opened device: memory, streams, programs
    memory          a pool of device memory
    programs        the kernels that are loaded, and how their arguments are passed
    array           an array in a device's memory
    staging         uploads for which the host does not wait
    feed            batches that are uploaded while the device computes
    graphs          passes as CUDA graphs (pycuda_graphs: the driver's functions for them)
    libraries       finds NVIDIA's libraries: cuBLAS (cublas, gemm) and cuDNN (cudnn, cudnn_choice)
    convolution     chooses what convolves: a kernel of our own, cuDNN, or im2col and cuBLAS
    interop         arrays of other libraries, by DLPack (dlpack) or the CUDA array interface
    NAME.cu         kernels; NAME.py beside it checks shapes and launches them
"""
