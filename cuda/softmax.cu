// Softmax along the middle axis of arrays (outer, classes, inner); outer * inner is `positions`.
//
// The largest score is subtracted first, so that exp cannot overflow. A thread takes a position; up
// to 32 classes it keeps them in registers, so that each score is read once. Rows (inner = 1) of
// more classes are worked on by a block each, as neighbouring threads should read neighbouring
// scores. Results may be written over the inputs.
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

extern "C" __global__ void softmax_forward(const float *bottom, float *top, int positions,
                                           int classes, int inner) {
    for_each(p, positions) {
        const int64 first = first_class(p, classes, inner);
        const float *x = bottom + first;
        float *y = top + first;
        by_class_count(classes, [&](auto most) {
            softmax_of_position<decltype(most)::value>(x, y, inner, classes);
        });
    }
}

// A block for each row.
extern "C" __global__ void softmax_rows_forward(const float *bottom, float *top, int classes) {
    const float *x = bottom + int64(blockIdx.x) * classes;
    float *y = top + int64(blockIdx.x) * classes;
    float largest = -float_infinity(), total = 0;
    for (int c = threadIdx.x; c < classes; c += blockDim.x) largest = fmaxf(largest, x[c]);
    largest = block_max(largest);
    for (int c = threadIdx.x; c < classes; c += blockDim.x) total += expf(x[c] - largest);
    total = block_sum(total);
    for (int c = threadIdx.x; c < classes; c += blockDim.x) y[c] = expf(x[c] - largest) / total;
}

template <int MOST>
__device__ __forceinline__ void gradient_of_position(const float *y, const float *y_diff,
                                                     float *x_diff, int64 step, int classes) {
    float dot = 0;
    if constexpr (MOST > 0) {
        const Classes<MOST> value(y, step, classes, 0), diff(y_diff, step, classes, 0);
#pragma unroll
        for (int c = 0; c < MOST; ++c) dot += value.at[c] * diff.at[c];
#pragma unroll
        for (int c = 0; c < MOST; ++c)
            if (c < classes) x_diff[c * step] = value.at[c] * (diff.at[c] - dot);
    } else {
#pragma unroll 8
        for (int c = 0; c < classes; ++c) dot += y[c * step] * y_diff[c * step];
#pragma unroll 8
        for (int c = 0; c < classes; ++c)
            x_diff[c * step] = y[c * step] * (y_diff[c * step] - dot);
    }
}

extern "C" __global__ void softmax_backward(const float *top, const float *top_diff,
                                            float *bottom_diff, int positions, int classes,
                                            int inner) {
    for_each(p, positions) {
        const int64 first = first_class(p, classes, inner);
        const float *y = top + first, *y_diff = top_diff + first;
        float *x_diff = bottom_diff + first;
        by_class_count(classes, [&](auto most) {
            gradient_of_position<decltype(most)::value>(y, y_diff, x_diff, inner, classes);
        });
    }
}

extern "C" __global__ void softmax_rows_backward(const float *top, const float *top_diff,
                                                 float *bottom_diff, int classes) {
    const int64 first = int64(blockIdx.x) * classes;
    const float *y = top + first, *y_diff = top_diff + first;
    float *x_diff = bottom_diff + first;
    float dot = 0;
    for (int c = threadIdx.x; c < classes; c += blockDim.x) dot += y[c] * y_diff[c];
    dot = block_sum(dot);
    for (int c = threadIdx.x; c < classes; c += blockDim.x) x_diff[c] = y[c] * (y_diff[c] - dot);
}
