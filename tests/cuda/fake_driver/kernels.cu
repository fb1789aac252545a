// Kernels for the tests of PyCudaDriver.
#include "common.cuh"

extern "C" __global__ void scale(float *values, unsigned char flag, double factor, int count) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
        if (flag) values[i] *= (float)factor;
}

// The sum of a block's values, by way of shared memory.
extern "C" __global__ void sum(float *total, const float *values, int count) {
    DYNAMIC_SHARED(float, shared);
    for (int i = threadIdx.x; i < count; i += blockDim.x) shared[i] = values[i];
    __syncthreads();
    if (threadIdx.x == 0) {
        float result = 0.0f;
        for (int i = 0; i < count; ++i) result += shared[i];
        *total = result;
    }
}

// Given a null pointer: an illegal address.
extern "C" __global__ void crash(float *nowhere) { *nowhere = 1.0f; }

extern "C" __global__ void __launch_bounds__(64) small() {}
