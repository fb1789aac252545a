// CUDA's additions to C++: qualifiers, vector types, built-in variables.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __grid_constant__
#define __launch_bounds__(...)  // build.py reads them
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))

// All shared arrays of a file lie in a section of their own, which is poisoned before each block.
#define __shared__ static __attribute__((section("cuda_shared")))
extern "C" char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));

// Stands for the definition in common.cuh.
#define DYNAMIC_SHARED(type, name) type *name = reinterpret_cast<type *>(emulation::dynamic_shared)

#define VECTOR_TYPES(type, base, align2, align4)                                           \
    struct type##1 { base x; };                                                            \
    struct alignas(align2) type##2 { base x, y; };                                         \
    struct type##3 { base x, y, z; };                                                      \
    struct alignas(align4) type##4 { base x, y, z, w; };                                   \
    inline type##1 make_##type##1(base x) { return {x}; }                                  \
    inline type##2 make_##type##2(base x, base y) { return {x, y}; }                       \
    inline type##3 make_##type##3(base x, base y, base z) { return {x, y, z}; }            \
    inline type##4 make_##type##4(base x, base y, base z, base w) { return {x, y, z, w}; }

VECTOR_TYPES(char, signed char, 2, 4)
VECTOR_TYPES(uchar, unsigned char, 2, 4)
VECTOR_TYPES(short, short, 4, 8)
VECTOR_TYPES(ushort, unsigned short, 4, 8)
VECTOR_TYPES(int, int, 8, 16)
VECTOR_TYPES(uint, unsigned, 8, 16)
VECTOR_TYPES(longlong, long long, 16, 16)
VECTOR_TYPES(ulonglong, unsigned long long, 16, 16)
VECTOR_TYPES(float, float, 8, 16)
VECTOR_TYPES(double, double, 16, 16)
#undef VECTOR_TYPES

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// Set before a thread runs on; a thread always finds its own.
static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

// The emulator's own functions, which the sanitizers are not to look into: fibers share its state.
#define UNSANITIZED __attribute__((noinline, no_sanitize("address", "thread", "undefined")))

namespace emulation {
static char *dynamic_shared;
}
