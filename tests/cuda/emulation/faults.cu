// Planted faults, for the tests of the emulation.
#include "stencil.cuh"

// ---- barriers

extern "C" __global__ void some_return_before_the_barrier(float *y) {
    if (threadIdx.x >= 40) return;
    __syncthreads();
    y[threadIdx.x] = 1.0f;
}

extern "C" __global__ void divergent_barrier(float *y) {
    if (threadIdx.x % 2)
        __syncthreads();
    else
        __syncthreads();
    y[threadIdx.x] = 1.0f;
}

extern "C" __global__ void different_barriers(float *y) {
    y[threadIdx.x] = threadIdx.x < 32 ? __syncthreads_or(1) : __syncthreads_and(1);
}

extern "C" __global__ void one_more_barrier(float *y) {
    for (int i = 0; i <= static_cast<int>(threadIdx.x / 32); ++i) __syncthreads();
    y[threadIdx.x] = 1.0f;
}

// The stencil without its second barrier.
extern "C" __global__ void missing_barrier(const float *x, float *y, int steps) {
    __shared__ float row[WIDTH + 2];
    const int t = threadIdx.x;
    if (t == 0) row[0] = row[WIDTH + 1] = 0.0f;
    row[t + 1] = x[blockIdx.x * WIDTH + t];
    for (int s = 0; s < steps; ++s) {
        __syncthreads();
        row[t + 1] = smoothed(row, t);
    }
    y[blockIdx.x * WIDTH + t] = row[t + 1];
}

// Lanes that pass values through shared memory without __syncwarp().
extern "C" __global__ void missing_syncwarp(float *y) {
    __shared__ float values[64];
    values[threadIdx.x] = threadIdx.x;
    y[threadIdx.x] = values[threadIdx.x ^ 1];
}

// Blocks that do not wait for each other: which one is last is chance.
extern "C" __global__ void race_of_blocks(int *y) {
    if (threadIdx.x == 0) y[0] = blockIdx.x;
}

// ---- warps

extern "C" __global__ void mask_of_absent_lanes(float *y) {
    if (threadIdx.x < 16) y[threadIdx.x] = __shfl_up_sync(ALL_LANES, 1.0f, 1);
}

extern "C" __global__ void mask_beyond_the_block(float *y) {
    y[threadIdx.x] = __shfl_up_sync(ALL_LANES, 1.0f, 1);
}

extern "C" __global__ void lane_outside_its_mask(float *y) {
    y[threadIdx.x] = __shfl_xor_sync(0xffffu, 1.0f, 1);
}

extern "C" __global__ void source_outside_the_mask(float *y) {
    if (threadIdx.x < 16) y[threadIdx.x] = __shfl_xor_sync(0xffffu, 1.0f, 16);
}

extern "C" __global__ void different_masks(float *y) {
    y[threadIdx.x] = __shfl_xor_sync(threadIdx.x % 32 < 16 ? ALL_LANES : 0xffff0000u, 1.0f, 1);
}

// ---- memory

extern "C" __global__ void reads_unwritten_shared(float *y) {
    __shared__ float values[64];
    if (threadIdx.x < 63) values[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = values[threadIdx.x];
}

extern "C" __global__ void writes_outside_shared(float *y) {
    __shared__ float values[64];
    values[threadIdx.x + 1] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = values[threadIdx.x];
}

extern "C" __global__ void writes_outside_dynamic_shared(float *y) {
    DYNAMIC_SHARED(float, values);
    values[threadIdx.x + 1] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = values[threadIdx.x];
}

// Through a function, behind which the compiler does not know the array's length.
__device__ __noinline__ float element(const float *values, int i) { return values[i]; }

extern "C" __global__ void reads_outside_shared(float *y) {
    __shared__ float values[64], others[64];
    values[threadIdx.x] = others[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = element(values, threadIdx.x + 1) + element(others, threadIdx.x + 1);
}

extern "C" __global__ void reads_outside_dynamic_shared(float *y) {
    DYNAMIC_SHARED(float, values);
    values[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = values[threadIdx.x + 1];
}

extern "C" __global__ void writes_outside_its_array(float *y) { y[threadIdx.x + 1] = 1.0f; }

extern "C" __global__ void writes_before_its_array(float *y) {
    y[static_cast<int>(threadIdx.x) - 1] = 1.0f;
}

extern "C" __global__ void reads_outside_its_array(float *y) {
    const float value = y[threadIdx.x + 1];
    __syncthreads();
    y[threadIdx.x] = value;
}

extern "C" __global__ void misaligned_vector(float *y) {
    *reinterpret_cast<float4 *>(y + 1) = make_float4(1.0f, 2.0f, 3.0f, 4.0f);
}

extern "C" __global__ void wild_address(float *y) {
    reinterpret_cast<float *>(static_cast<size_t>(0x123456789000))[threadIdx.x] = y[threadIdx.x];
}

extern "C" __global__ void null_address(float *y) { y[threadIdx.x] = 1.0f; }

extern "C" __global__ void divides_by_zero(int *y, int zero) { y[threadIdx.x] /= zero; }

extern "C" __global__ void overflows(int *y, int large) { y[threadIdx.x] = large * large; }

extern "C" __global__ void large_local_array(float *y, int size) {
    float local[70000];
    for (int i = 0; i < size; ++i) local[i] = y[i % 64];
    for (int i = 0; i < size; ++i) y[threadIdx.x] += local[i];
}

extern "C" __global__ void shifts(int *y, int bits) { y[threadIdx.x] <<= bits; }

extern "C" __global__ void asserts(float *y) {
    assert(threadIdx.x < 63);
    y[threadIdx.x] = 1.0f;
}
