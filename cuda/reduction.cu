// Sums of rows, of their absolute values or of their squares.
//
// A row is shared by `splits` blocks, whose sums one block joins afterwards, always in the same
// order.
#include "vectors.cuh"

const int AT_ONCE = 4;  // elements that a thread reads before it uses the first

struct Itself {
    static __device__ __forceinline__ float term(float x) { return x; }
    static __device__ __forceinline__ float slope(float) { return 1; }
};

struct Absolute {
    static __device__ __forceinline__ float term(float x) { return fabsf(x); }
    static __device__ __forceinline__ float slope(float x) {
        return x > 0 ? 1 : x < 0 ? -1 : x;  // NaN stays
    }
};

struct Square {
    static __device__ __forceinline__ float term(float x) { return x * x; }
    static __device__ __forceinline__ float slope(float x) { return 2 * x; }
};

template <typename Operation>
__device__ __forceinline__ void row_parts(const float *x, int length, int splits, double *parts) {
    const float *row = x + int64(blockIdx.x / splits) * length;
    const int64 step = int64(splits) * blockDim.x;
    double sum = 0;
    for (int64 first = int64(blockIdx.x % splits) * blockDim.x + threadIdx.x; first < length;
         first += AT_ONCE * step) {
        float terms[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            const int64 i = first + k * step;
            terms[k] = i < length ? Operation::term(row[i]) : 0;
        }
        // A few in float32 and the many in float64, which most GPUs are slow in.
        sum += (terms[0] + terms[1]) + (terms[2] + terms[3]);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// A block for each row.
extern "C" __global__ void row_sums(const double *parts, int splits, float coefficient,
                                    float *sums) {
    double sum = 0;
    for (int s = threadIdx.x; s < splits; s += blockDim.x)
        sum += parts[int64(blockIdx.x) * splits + s];
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = static_cast<float>(sum) * coefficient;
}

template <typename Operation>
__device__ __forceinline__ void row_backward(const float *x, const float *sums_diff, int count,
                                             int length, float coefficient, float *x_diff) {
    for_vectors(count, length % 4 == 0 && aligned(x, x_diff), [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        const float diff = sums_diff[i / length] * coefficient;
        store(x_diff + i,
              mapped<WIDTH>([=](float value) { return Operation::slope(value) * diff; },
                            load<WIDTH>(x + i)));
    });
}

#define KERNELS(NAME, OPERATION)                                                             \
    extern "C" __global__ void NAME##_parts(const float *x, int length, int splits,          \
                                            double *parts) {                                 \
        row_parts<OPERATION>(x, length, splits, parts);                                      \
    }                                                                                        \
    extern "C" __global__ void NAME##_backward(const float *x, const float *sums_diff,       \
                                               int count, int length, float coefficient,     \
                                               float *x_diff) {                              \
        row_backward<OPERATION>(x, sums_diff, count, length, coefficient, x_diff);           \
    }

KERNELS(sum, Itself)
KERNELS(asum, Absolute)
KERNELS(sumsq, Square)
