// Softmax of the classes of one position; see classes.cuh. Results may be written over the inputs.
//
// The largest score is subtracted first, so that exp cannot overflow. A thread takes a position; up
// to 32 classes it keeps them in registers, so that each score is read once. Rows (inner = 1) of
// more classes are worked on by a block each, as neighbouring threads should read neighbouring
// scores.
#pragma once
#include "classes.cuh"

// body(Most<n>()) with n at least `classes`, or 0 if they are too many for registers.
template <int CLASSES>
struct Most {
    static constexpr int value = CLASSES;
};

template <typename Body>
__device__ __forceinline__ void by_class_count(int classes, Body body) {
    if (classes <= 4)
        body(Most<4>());
    else if (classes <= 12)
        body(Most<12>());
    else if (classes <= 22)
        body(Most<22>());
    else if (classes <= 32)
        body(Most<32>());
    else
        body(Most<0>());
}

// The elements of one position, `step` apart, in registers; those that are missing are `missing`.
template <int MOST>
struct Classes {
    float at[MOST];

    __device__ __forceinline__ Classes(const float *array, int64 step, int classes, float missing) {
#pragma unroll
        for (int c = 0; c < MOST; ++c) at[c] = c < classes ? array[c * step] : missing;
    }
};

template <int MOST>
__device__ __forceinline__ void softmax_of_position(const float *x, float *y, int64 step,
                                                    int classes) {
    // A NaN need not be kept: where one is among the scores, the sum becomes NaN.
    float largest = x[0], total = 0;
    if constexpr (MOST > 0) {
        Classes<MOST> value(x, step, classes, -float_infinity());
#pragma unroll
        for (int c = 1; c < MOST; ++c) largest = fmaxf(largest, value.at[c]);
#pragma unroll
        for (int c = 0; c < MOST; ++c) total += value.at[c] = expf(value.at[c] - largest);
#pragma unroll
        for (int c = 0; c < MOST; ++c)
            if (c < classes) y[c * step] = value.at[c] / total;
    } else {
#pragma unroll 8
        for (int c = 1; c < classes; ++c) largest = fmaxf(largest, x[c * step]);
#pragma unroll 8
        for (int c = 0; c < classes; ++c) total += expf(x[c * step] - largest);
#pragma unroll 8
        for (int c = 0; c < classes; ++c) y[c * step] = expf(x[c * step] - largest) / total;
    }
}

// The same, with whatever fits the number of classes.
__device__ __forceinline__ void softmax_of_position(const float *x, float *y, int64 step,
                                                    int classes) {
    by_class_count(classes, [&](auto most) {
        softmax_of_position<decltype(most)::value>(x, y, step, classes);
    });
}

// The same of neighbouring classes, by all threads of a block.
__device__ __forceinline__ void softmax_of_row(const float *x, float *y, int classes) {
    float largest = -float_infinity(), total = 0;
    for (int c = threadIdx.x; c < classes; c += blockDim.x) largest = fmaxf(largest, x[c]);
    largest = block_max(largest);
    for (int c = threadIdx.x; c < classes; c += blockDim.x) total += expf(x[c] - largest);
    total = block_sum(total);
    for (int c = threadIdx.x; c < classes; c += blockDim.x) y[c] = expf(x[c] - largest) / total;
}
