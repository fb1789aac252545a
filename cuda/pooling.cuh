// Windows that move over maps (planes, H, W), and how threads share the work.
#pragma once
#include "common.cuh"

// One axis of the maps: how windows lie along it.
struct Axis {
    int size, out, kernel, stride, pad;

    __device__ __forceinline__ int start(int q) const { return q * stride - pad; }
    __device__ __forceinline__ int begin(int q) const { return max(start(q), 0); }
    __device__ __forceinline__ int end(int q) const { return min(start(q) + kernel, size); }
    // What AVE divides by: padding counts, what lies beyond it does not.
    __device__ __forceinline__ float count(int q) const {
        return min(start(q) + kernel, size + pad) - start(q);
    }
    // The windows first(p) to last(p) - 1 are those that see pixel p.
    __device__ __forceinline__ int first(int p) const {
        return p + pad < kernel ? 0 : steps(p + pad - kernel) + 1;
    }
    __device__ __forceinline__ int last(int p) const { return min(steps(p + pad) + 1, out); }
    __device__ __forceinline__ int steps(int distance) const {
        return stride == 1 ? distance : stride == 2 ? distance / 2 : distance / stride;
    }
};

#define AXES                                                                                    \
    int planes, int height, int out_height, int kernel_h, int stride_h, int pad_h, int width, \
        int out_width, int kernel_w, int stride_w, int pad_w
#define ROWS Axis{height, out_height, kernel_h, stride_h, pad_h}
#define COLUMNS Axis{width, out_width, kernel_w, stride_w, pad_w}

// The offset of pixel (h, w) in window (r, q).
__device__ __forceinline__ int window_offset(const Axis &rows, const Axis &columns, int r, int q,
                                             int h, int w) {
    return (h - rows.start(r)) * columns.kernel + w - columns.start(q);
}

// Which pixel of each window was chosen: its offset, counted row by row from the window's start,
// padding included; -1 for none. Windows of fewer than 256 pixels have a byte for it, in which -1
// is 255. One pointer is null, or both where it is not wanted.
struct Mask {
    unsigned char *bytes;
    int *words;

    __device__ __forceinline__ void put(int64 at, int offset) const {
        if (bytes) bytes[at] = offset;
        if (words) words[at] = offset;
    }
};

// This thread's place in a map of so many; the launcher says how threads share places and planes.
#define PLACE_OR_RETURN(places)                                   \
    const int place = blockIdx.x * blockDim.x + threadIdx.x; \
    if (place >= (places)) return

#define EACH_PLANE(plane)                                                        \
    (int64 plane = blockIdx.y * blockDim.y + threadIdx.y; plane < planes; \
     plane += gridDim.y * blockDim.y)
