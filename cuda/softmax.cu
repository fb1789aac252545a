// Softmax along the middle axis of arrays (outer, classes, inner); outer * inner is `positions`.
// Results may be written over the inputs.
#include "softmax.cuh"

extern "C" __global__ void softmax_forward(const float *bottom, float *top, int positions,
                                           int classes, int inner) {
    for_each(p, positions) {
        const int64 first = first_class(p, classes, inner);
        softmax_of_position(bottom + first, top + first, inner, classes);
    }
}

// A block for each row.
extern "C" __global__ void softmax_rows_forward(const float *bottom, float *top, int classes) {
    const int64 first = int64(blockIdx.x) * classes;
    softmax_of_row(bottom + first, top + first, classes);
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
