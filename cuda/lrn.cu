// Local response normalisation of maps (N, C, H, W), across channels or within each.
//
//   y = x scale^-beta,  scale = k + weight (sum of x^2 over the neighbourhood)
//
// A thread makes one element and adds up its neighbourhood anew: neighbouring threads read nearly
// the same numbers, which are in the caches then. Beyond the edges are zeros.
#include "common.cuh"

// Which elements are neighbours: those up to `reach` away in a channel's direction, or in rows and
// columns.
struct Across {
    int channels, height, width, reach;

    template <typename Function>
    __device__ __forceinline__ float sum(const float *x, int i, Function function) const {
        const int pixels = height * width, c = i / pixels % channels;
        const int last = min(c + reach, channels - 1);
        float total = 0;
        for (int other = max(c - reach, 0); other <= last; ++other)
            total += function(x[i + int64(other - c) * pixels]);
        return total;
    }
};

struct Within {
    int channels, height, width, reach;

    template <typename Function>
    __device__ __forceinline__ float sum(const float *x, int i, Function function) const {
        const int w = i % width, h = i / width % height;
        const int bottom = min(h + reach, height - 1), right = min(w + reach, width - 1);
        float total = 0;
        for (int row = max(h - reach, 0); row <= bottom; ++row) {
            float of_row = 0;
            for (int column = max(w - reach, 0); column <= right; ++column)
                of_row += function(x[i + (row - h) * width + (column - w)]);
            total += of_row;
        }
        return total;
    }
};

struct Numbers {
    float weight, beta, k;

    template <typename Region>
    __device__ __forceinline__ float scale(const Region &region, const float *x, int i) const {
        return k + weight * region.sum(x, i, [](float value) { return value * value; });
    }
    // scale^-beta
    __device__ __forceinline__ float power(float scale) const {
        if (beta != 0.75f) return powf(scale, -beta);
        const float root = sqrtf(scale);
        return 1 / (root * sqrtf(root));
    }
};

template <typename Region>
__device__ __forceinline__ void forward(const Region &region, const Numbers &numbers,
                                        const float *x, float *y, int count) {
    for_each(i, count) y[i] = x[i] * numbers.power(numbers.scale(region, x, i));
}

// The first half of the gradient: x_diff = y_diff scale^-beta, and ratio = that times x / scale.
// x_diff may be y_diff.
template <typename Region>
__device__ __forceinline__ void begin_backward(const Region &region, const Numbers &numbers,
                                               const float *x, const float *y_diff, float *x_diff,
                                               float *ratio, int count) {
    for_each(i, count) {
        const float scale = numbers.scale(region, x, i);
        const float direct = y_diff[i] * numbers.power(scale);
        ratio[i] = direct * x[i] / scale;
        x_diff[i] = direct;
    }
}

// The second half: what the neighbours' scales owe to this element.
template <typename Region>
__device__ __forceinline__ void end_backward(const Region &region, const Numbers &numbers,
                                             const float *x, const float *ratio, float *x_diff,
                                             int count) {
    const float factor = 2 * numbers.weight * numbers.beta;
    for_each(i, count)
        x_diff[i] -= factor * x[i] * region.sum(ratio, i, [](float value) { return value; });
}

#define GEOMETRY                                                                               \
    int count, int channels, int height, int width, int reach, float weight, float beta, float k

#define KERNELS(NAME, REGION)                                                                  \
    extern "C" __global__ void NAME##_forward(const float *x, float *y, GEOMETRY) {            \
        forward(REGION{channels, height, width, reach}, Numbers{weight, beta, k}, x, y, count); \
    }                                                                                          \
    extern "C" __global__ void NAME##_begin_backward(const float *x, const float *y_diff,      \
                                                     float *x_diff, float *ratio, GEOMETRY) {  \
        begin_backward(REGION{channels, height, width, reach}, Numbers{weight, beta, k}, x,    \
                       y_diff, x_diff, ratio, count);                                          \
    }                                                                                          \
    extern "C" __global__ void NAME##_end_backward(const float *x, const float *ratio,         \
                                                   float *x_diff, GEOMETRY) {                  \
        end_backward(REGION{channels, height, width, reach}, Numbers{weight, beta, k}, x,      \
                     ratio, x_diff, count);                                                    \
    }

KERNELS(across, Across)
KERNELS(within, Within)
