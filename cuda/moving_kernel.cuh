// How a convolution's kernel moves over a map: shared by im2col.cu and depthwise.cu.
#pragma once
#include "common.cuh"

// One spatial axis. Pixel = position * stride - pad + offset * dilation.
struct Axis {
    int size, kernel, stride, pad, dilation, positions;

    // The pixel that `position` sees through `offset`, or -1 in the padding.
    __device__ __forceinline__ int pixel(int position, int offset) const {
        const int at = position * stride - pad + offset * dilation;
        return at < size ? max(at, -1) : -1;
    }

    // The position that sees `pixel` through `offset`, or -1.
    __device__ __forceinline__ int position(int pixel, int offset) const {
        const int shifted = pixel + pad - offset * dilation;
        if (shifted < 0 || shifted % stride) return -1;
        return shifted / stride < positions ? shifted / stride : -1;
    }

    // Only offsets first(pixel), first + step(), ... can see a pixel.
    __device__ __forceinline__ int first(int pixel) const {
        return dilation == 1 ? (pixel + pad) % stride : 0;
    }
    __device__ __forceinline__ int step() const { return dilation == 1 ? stride : 1; }
};

// What a launcher passes for one axis, and the axis made of it.
#define AXIS(name)                                                          \
    int name##_size, int name##_kernel, int name##_stride, int name##_pad, \
        int name##_dilation, int name##_positions
#define MAKE_AXIS(name)                                                  \
    Axis {                                                               \
        name##_size, name##_kernel, name##_stride, name##_pad,           \
            name##_dilation, name##_positions                            \
    }
