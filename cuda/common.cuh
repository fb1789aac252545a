// What all kernels share. No system header is included, so that NVRTC compiles it as it is.
//
// The tests run kernels on the CPU; there CUDA_EMULATION is defined.
#pragma once

// NVRTC has no <stdint.h>. Names without _t, as that header's may exist beside them.
typedef signed char int8;
typedef unsigned char uint8;
typedef short int16;
typedef unsigned short uint16;
typedef int int32;
typedef unsigned int uint32;
typedef long long int64;
typedef unsigned long long uint64;

// <float.h>: FLT_MAX, FLT_MIN, FLT_EPSILON.
#define FLOAT_MAX 3.402823466e+38f
#define FLOAT_MIN 1.175494351e-38f
#define FLOAT_EPSILON 1.192092896e-07f

__device__ __forceinline__ float float_infinity() { return __int_as_float(0x7f800000); }

// DYNAMIC_SHARED(float, row): `float *row` is the block's dynamic shared memory, 16-byte aligned.
// One array of one type lies below, as a file may not declare it with several types.
#ifndef CUDA_EMULATION
#define DYNAMIC_SHARED(type, name)              \
    extern __shared__ float4 dynamic_shared[]; \
    type *name = reinterpret_cast<type *>(dynamic_shared)
#endif

// for_each(i, count) { ... }: all threads of a one-dimensional grid share 0 <= i < count.
//
// i has the type of `count`: with an int, divisions of the index stay cheap. The loop itself counts
// in 64 bits, where the last step past 2^31 - 1 does not overflow. `continue` and `break` work.
#define for_each(i, count) for (auto i : GridStride<decltype(+(count))>(count))

template <typename Index>
struct GridStride {
    struct Position {
        int64 at, step;
        __device__ __forceinline__ Index operator*() const { return static_cast<Index>(at); }
        __device__ __forceinline__ void operator++() { at += step; }
        __device__ __forceinline__ bool operator!=(const Position &end) const {
            return at < end.at;
        }
    };
    int64 count;
    __device__ __forceinline__ explicit GridStride(Index count) : count(count) {}
    __device__ __forceinline__ Position begin() const {
        return {static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x,
                static_cast<int64>(gridDim.x) * blockDim.x};
    }
    __device__ __forceinline__ Position end() const { return {count, 0}; }
};

const uint32 ALL_LANES = 0xffffffffu;

// The sum, or the greatest, of a full warp's values, in every lane. The order of the additions is
// fixed and the same for all lanes (a + b is b + a), so that all lanes hold the same bits.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
    for (int offset = 16; offset > 0; offset /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, offset);
    return value;
}

template <typename T>
__device__ __forceinline__ T warp_max(T value) {
    for (int offset = 16; offset > 0; offset /= 2)
        value = max(value, __shfl_xor_sync(ALL_LANES, value, offset));
    return value;
}

// The same of a block of any number of full warps: every thread calls it and gets the result, which
// depends on the values and the block's size only. One after another they may be called freely.
template <typename T>
__device__ __forceinline__ T block_sum(T value) {
    __shared__ T of_warp[32];
    const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const int warps = blockDim.x * blockDim.y * blockDim.z / 32;
    value = warp_sum(value);
    if (thread % 32 == 0) of_warp[thread / 32] = value;
    __syncthreads();
    value = warp_sum(thread % 32 < warps ? of_warp[thread % 32] : T(0));
    __syncthreads();  // of_warp is free again
    return value;
}

template <typename T>
__device__ __forceinline__ T block_max(T value) {
    __shared__ T of_warp[32];
    const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const int warps = blockDim.x * blockDim.y * blockDim.z / 32;
    value = warp_max(value);
    if (thread % 32 == 0) of_warp[thread / 32] = value;
    __syncthreads();
    value = warp_max(of_warp[min(thread % 32, warps - 1)]);
    __syncthreads();
    return value;
}
