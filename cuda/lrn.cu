// Local response normalisation of maps (N, C, H, W), across channels or within each.
//
//   y = x scale^-beta,  scale = k + weight (sum of x^2 over the neighbourhood)
//
// A thread adds up the neighbourhood of each of its elements anew: most of it is in the caches, as
// the thread itself or its neighbours have read it before. Beyond the edges are zeros.
#include "common.cuh"

// each(body) calls body(i, sum) for all elements of this thread; sum(x, function) is then the sum
// of function(x) over the neighbourhood of element i.

// Channels up to `reach` away. A thread stays at its pixel and goes through CHUNK channels.
const int CHUNK = 16;

struct Across {
    int batch, channels, height, width, reach;

    template <typename Body>
    __device__ __forceinline__ void each(Body body) const {
        const int pixels = height * width, chunks = (channels + CHUNK - 1) / CHUNK;
        const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
        if (pixel >= pixels) return;
        for (int64 part = blockIdx.y; part < int64(batch) * chunks; part += gridDim.y) {
            const int n = static_cast<int>(part) / chunks;
            const int begin = (part - n * chunks) * CHUNK, end = min(begin + CHUNK, channels);
            const int64 start = int64(n) * channels * pixels + pixel;
            for (int c = begin; c < end; ++c) {
                const int first = max(c - reach, 0), last = min(c + reach, channels - 1);
                body(start + int64(c) * pixels, [=](const float *x, auto function) {
                    float total = 0;
                    for (int other = first; other <= last; ++other)
                        total += function(x[start + int64(other) * pixels]);
                    return total;
                });
            }
        }
    }
};

// Rows and columns up to `reach` away. A thread makes one element after another.
struct Within {
    int batch, channels, height, width, reach;

    template <typename Body>
    __device__ __forceinline__ void each(Body body) const {
        for_each(i, batch * channels * height * width) {
            const int w = i % width, h = i / width % height;
            const int top = max(h - reach, 0) - h, bottom = min(h + reach, height - 1) - h;
            const int left = max(w - reach, 0) - w, right = min(w + reach, width - 1) - w;
            const int pitch = width;
            body(i, [=](const float *x, auto function) {
                float total = 0;
                for (int row = top; row <= bottom; ++row) {
                    float of_row = 0;
                    for (int column = left; column <= right; ++column)
                        of_row += function(x[i + row * pitch + column]);
                    total += of_row;
                }
                return total;
            });
        }
    }
};

struct Itself {
    __device__ __forceinline__ float operator()(float x) const { return x; }
};

struct Square {
    __device__ __forceinline__ float operator()(float x) const { return x * x; }
};

// scale^-beta
__device__ __forceinline__ float power(float scale, float beta) {
    if (beta != 0.75f) return powf(scale, -beta);
    const float root = sqrtf(scale);
    return 1 / (root * sqrtf(root));
}

#define GEOMETRY                                                                                \
    int batch, int channels, int height, int width, int reach, float weight, float beta, float k

// begin_backward is the first half of the gradient: x_diff = y_diff scale^-beta, which may be
// written over y_diff, and ratio = that times x / scale. end_backward subtracts what the
// neighbours' scales owe to each element.
#define KERNELS(NAME, REGION)                                                                   \
    extern "C" __global__ void NAME##_forward(const float *x, float *y, GEOMETRY) {             \
        REGION{batch, channels, height, width, reach}.each([=](int64 i, auto sum) {             \
            y[i] = x[i] * power(k + weight * sum(x, Square()), beta);                           \
        });                                                                                     \
    }                                                                                           \
    extern "C" __global__ void NAME##_begin_backward(const float *x, const float *y_diff,       \
                                                     float *x_diff, float *ratio, GEOMETRY) {   \
        REGION{batch, channels, height, width, reach}.each([=](int64 i, auto sum) {             \
            const float scale = k + weight * sum(x, Square());                                  \
            const float direct = y_diff[i] * power(scale, beta);                                \
            ratio[i] = direct * x[i] / scale;                                                   \
            x_diff[i] = direct;                                                                 \
        });                                                                                     \
    }                                                                                           \
    extern "C" __global__ void NAME##_end_backward(const float *x, const float *ratio,          \
                                                   float *x_diff, GEOMETRY) {                   \
        REGION{batch, channels, height, width, reach}.each([=](int64 i, auto sum) {             \
            x_diff[i] -= 2 * weight * beta * x[i] * sum(ratio, Itself());                       \
        });                                                                                     \
    }

KERNELS(across, Across)
KERNELS(within, Within)
