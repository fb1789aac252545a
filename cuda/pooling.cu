// Pooling of maps (planes, H, W): the largest pixel, or the mean, of each window.
//
// Forward, a thread makes an output, or a warp does where windows are large and few. Backward, a
// thread gathers the derivative of a pixel from the windows that see it, always in the same order.
// In both, a thread keeps its place for many planes, which makes the arithmetic of places cheap.
//
// cuDNN's pooling rounds down where Caffe rounds up, and breaks ties otherwise.
#include "pooling.cuh"

// body(pixel, offset) for the pixels of window (r, q), row by row; see `Mask` for offsets. A window
// of SIDE x SIDE (0: of any size) is read before its first pixel is used, so that the reads do not
// wait for each other.
template <int SIDE, typename Body>
__device__ __forceinline__ void each_pixel(const float *map, const Axis &rows, const Axis &columns,
                                           int r, int q, float outside, Body body) {
    if constexpr (SIDE > 0) {
        float pixel[SIDE][SIDE];
        const int top = rows.start(r), left = columns.start(q);
#pragma unroll
        for (int i = 0; i < SIDE; ++i)
#pragma unroll
            for (int j = 0; j < SIDE; ++j) {
                const int h = top + i, w = left + j;
                const bool inside = h >= 0 && h < rows.size && w >= 0 && w < columns.size;
                pixel[i][j] = inside ? map[h * columns.size + w] : outside;
            }
#pragma unroll
        for (int i = 0; i < SIDE; ++i)
#pragma unroll
            for (int j = 0; j < SIDE; ++j)
                body(pixel[i][j], i * SIDE + j);
    } else {
        const int bottom = rows.end(r), right = columns.end(q);
        for (int h = rows.begin(r); h < bottom; ++h)
            for (int w = columns.begin(q); w < right; ++w)
                body(map[h * columns.size + w], window_offset(rows, columns, r, q, h, w));
    }
}

// One window with a warp: the same, its pixels dealt out to the lanes.
template <typename Body>
__device__ __forceinline__ void each_pixel_of_lane(const float *map, const Axis &rows,
                                                   const Axis &columns, int r, int q, Body body) {
    const int top = rows.begin(r), left = columns.begin(q);
    const int span = columns.end(q) - left, pixels = (rows.end(r) - top) * span;
    for (int i = threadIdx.x % 32; i < pixels; i += 32) {
        const int h = top + i / span, w = left + i % span;
        body(map[h * columns.size + w], window_offset(rows, columns, r, q, h, w));
    }
}

// The largest pixel so far. One must be larger than the lowest number to be chosen at all; a NaN
// replaces everything, and must not be pooled away.
struct Largest {
    float value = -FLOAT_MAX;
    int offset = -1;

    __device__ __forceinline__ void add(float pixel, int at) {
        if (pixel > value || pixel != pixel) value = pixel, offset = at;
    }
    // As if the other's pixels had been added in the order of their offsets.
    __device__ __forceinline__ void merge(const Largest &other) {
        const bool nan = value != value, other_nan = other.value != other.value;
        const bool replace = nan || other_nan
                                 ? other_nan && (!nan || other.offset > offset)
                                 : other.value > value ||
                                       (other.value == value && other.offset < offset);
        if (replace) *this = other;
    }
};

struct MaxTops {
    float *top;
    Mask mask;
    float *mask_top;  // may be null: not wanted

    __device__ __forceinline__ void put(int64 at, const Largest &best, const Axis &rows,
                                        const Axis &columns, int r, int q) const {
        top[at] = best.value;
        mask.put(at, best.offset);
        if (mask_top) mask_top[at] = index(best.offset, rows, columns, r, q);
    }
    // Caffe's mask has the pixel's place in its plane.
    static __device__ __forceinline__ int index(int offset, const Axis &rows, const Axis &columns,
                                                int r, int q) {
        if (offset < 0) return -1;
        const int h = rows.start(r) + offset / columns.kernel;
        return h * columns.size + columns.start(q) + offset % columns.kernel;
    }
};

template <int SIDE>
__device__ __forceinline__ void max_windows(const float *bottom, const MaxTops &tops, int planes,
                                            const Axis &rows, const Axis &columns) {
    const int places = rows.out * columns.out;
    PLACE_OR_RETURN(places);
    const int r = place / columns.out, q = place % columns.out;
    for EACH_PLANE(plane) {
        Largest best;
        each_pixel<SIDE>(bottom + plane * rows.size * columns.size, rows, columns, r, q,
                         -FLOAT_MAX, [&](float pixel, int at) { best.add(pixel, at); });
        tops.put(plane * places + place, best, rows, columns, r, q);
    }
}

extern "C" __global__ void max_forward(const float *bottom, float *top,
                                       unsigned char *mask_bytes, int *mask_words,
                                       float *mask_top, AXES) {
    const MaxTops tops = {top, {mask_bytes, mask_words}, mask_top};
    if (kernel_h == 2 && kernel_w == 2)
        max_windows<2>(bottom, tops, planes, ROWS, COLUMNS);
    else if (kernel_h == 3 && kernel_w == 3)
        max_windows<3>(bottom, tops, planes, ROWS, COLUMNS);
    else
        max_windows<0>(bottom, tops, planes, ROWS, COLUMNS);
}

// A warp for each window.
extern "C" __global__ void max_forward_wide(const float *bottom, float *top,
                                            unsigned char *mask_bytes, int *mask_words,
                                            float *mask_top, AXES) {
    const MaxTops tops = {top, {mask_bytes, mask_words}, mask_top};
    const Axis rows = ROWS, columns = COLUMNS;
    const int places = out_height * out_width;
    for_each(i, int64(planes) * places * 32) {
        const int64 at = i / 32, plane = at / places;
        const int place = at - plane * places, r = place / out_width, q = place % out_width;
        Largest best;
        each_pixel_of_lane(bottom + plane * height * width, rows, columns, r, q,
                           [&](float pixel, int p) { best.add(pixel, p); });
        for (int lanes = 16; lanes > 0; lanes /= 2)
            best.merge({__shfl_xor_sync(ALL_LANES, best.value, lanes),
                        __shfl_xor_sync(ALL_LANES, best.offset, lanes)});
        if (threadIdx.x % 32 == 0) tops.put(at, best, rows, columns, r, q);
    }
}

template <int SIDE>
__device__ __forceinline__ void average_windows(const float *bottom, float *top, int planes,
                                                const Axis &rows, const Axis &columns) {
    const int places = rows.out * columns.out;
    PLACE_OR_RETURN(places);
    const int r = place / columns.out, q = place % columns.out;
    const float count = rows.count(r) * columns.count(q);
    for EACH_PLANE(plane) {
        float sum = 0;
        each_pixel<SIDE>(bottom + plane * rows.size * columns.size, rows, columns, r, q, 0,
                         [&](float pixel, int) { sum += pixel; });
        top[plane * places + place] = sum / count;
    }
}

extern "C" __global__ void average_forward(const float *bottom, float *top, AXES) {
    if (kernel_h == 2 && kernel_w == 2)
        average_windows<2>(bottom, top, planes, ROWS, COLUMNS);
    else if (kernel_h == 3 && kernel_w == 3)
        average_windows<3>(bottom, top, planes, ROWS, COLUMNS);
    else
        average_windows<0>(bottom, top, planes, ROWS, COLUMNS);
}

extern "C" __global__ void average_forward_wide(const float *bottom, float *top, AXES) {
    const Axis rows = ROWS, columns = COLUMNS;
    const int places = out_height * out_width;
    for_each(i, int64(planes) * places * 32) {
        const int64 at = i / 32, plane = at / places;
        const int place = at - plane * places, r = place / out_width, q = place % out_width;
        float sum = 0;
        each_pixel_of_lane(bottom + plane * height * width, rows, columns, r, q,
                           [&](float pixel, int) { sum += pixel; });
        sum = warp_sum(sum);
        if (threadIdx.x % 32 == 0) top[at] = sum / (rows.count(r) * columns.count(q));
    }
}

// bottom_diff = the sum of value(at, common) over the windows (r, q) that see each pixel (h, w).
// `at` is the window's output, and `common` is of_window(r, q, h, w), the same for all planes.
// A thread has several planes under way at once, as each needs few reads.
const int AT_ONCE = 4;

template <typename OfWindow, typename Value>
__device__ __forceinline__ void gather(float *__restrict__ bottom_diff, int planes,
                                       const Axis &rows, const Axis &columns, int place,
                                       OfWindow of_window, Value value) {
    const int h = place / columns.size, w = place % columns.size;
    const int top = rows.first(h), bottom = rows.last(h);
    const int left = columns.first(w), right = columns.last(w);
    const int64 pixels = rows.size * columns.size, outputs = rows.out * columns.out;
    const int64 step = gridDim.y * blockDim.y;
    for (int64 plane = blockIdx.y * blockDim.y + threadIdx.y; plane < planes;
         plane += AT_ONCE * step) {
        float sum[AT_ONCE] = {};
        int64 start[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k)
            // Beyond the last plane it is read again: without a branch, reads wait for nothing.
            start[k] = min(plane + k * step, int64(planes) - 1) * outputs;
        for (int r = top; r < bottom; ++r)
            for (int q = left; q < right; ++q) {
                const auto common = of_window(r, q, h, w);
#pragma unroll
                for (int k = 0; k < AT_ONCE; ++k)
                    sum[k] += value(start[k] + r * columns.out + q, common);
            }
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k)
            if (plane + k * step < planes)
                bottom_diff[(plane + k * step) * pixels + place] = sum[k];
    }
}

// Each output's derivative belongs to the pixel whose offset in the window its mask has.
template <typename Offset>
__device__ __forceinline__ void max_gather(const float *__restrict__ top_diff,
                                           const Offset *__restrict__ mask,
                                           float *__restrict__ bottom_diff, int planes,
                                           const Axis &rows, const Axis &columns, int place) {
    gather(
        bottom_diff, planes, rows, columns, place,
        [=](int r, int q, int h, int w) { return window_offset(rows, columns, r, q, h, w); },
        [=](int64 at, int offset) {
            const float diff = top_diff[at];  // read without waiting for the mask
            return mask[at] == offset ? diff : 0;
        });
}

extern "C" __global__ void max_backward(const float *__restrict__ top_diff,
                                        const unsigned char *__restrict__ mask_bytes,
                                        const int *__restrict__ mask_words,
                                        float *__restrict__ bottom_diff, AXES) {
    PLACE_OR_RETURN(height * width);
    if (mask_bytes)
        max_gather(top_diff, mask_bytes, bottom_diff, planes, ROWS, COLUMNS, place);
    else
        max_gather(top_diff, mask_words, bottom_diff, planes, ROWS, COLUMNS, place);
}

extern "C" __global__ void average_backward(const float *__restrict__ top_diff,
                                            float *__restrict__ bottom_diff, AXES) {
    PLACE_OR_RETURN(height * width);
    const Axis rows = ROWS, columns = COLUMNS;
    gather(
        bottom_diff, planes, rows, columns, place,
        [=](int r, int q, int, int) { return rows.count(r) * columns.count(q); },
        [=](int64 at, float count) { return top_diff[at] / count; });
}
