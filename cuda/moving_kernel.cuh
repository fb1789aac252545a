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
};

// All offsets through which positions see one pixel, with these positions:
//     for (Seen row(rows, h); row.any(); row.next()) ... row.offset, row.position ...
// Where there is no dilation this takes one division, and each step is an addition.
struct Seen {
    Axis axis;
    int shifted, offset, position;

    __device__ __forceinline__ Seen(const Axis &axis, int pixel)
        : axis(axis), shifted(pixel + axis.pad), offset(0) {
        if (axis.dilation == 1) {
            offset = static_cast<uint32>(shifted) % axis.stride;
            shifted -= offset;
        }
        position = static_cast<uint32>(shifted) / axis.stride;
        if (!here()) next();
    }

    __device__ __forceinline__ bool any() const { return offset < axis.kernel && shifted >= 0; }

    __device__ __forceinline__ void next() {
        do {
            if (axis.dilation == 1) {
                offset += axis.stride;
                shifted -= axis.stride;
                --position;
            } else {
                ++offset;
                shifted -= axis.dilation;
                position = shifted / axis.stride;
            }
        } while (any() && !here());
    }

  private:
    __device__ __forceinline__ bool here() const {
        return position < axis.positions &&
               (axis.dilation == 1 || position * axis.stride == shifted);
    }
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

// Where flat index i of planes (count, rows, columns) lies. Unsigned divisions are the cheaper.
struct Place {
    int plane, row, column;

    __device__ __forceinline__ Place(int i, int rows, int columns) {
        const uint32 pixels = rows * columns, at = i;
        plane = at / pixels;
        const uint32 pixel = at - plane * pixels;
        row = pixel / columns;
        column = pixel - row * columns;
    }
};
