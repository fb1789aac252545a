// PReLU: a rectifier with a slope for each channel of (outer, size, inner).
#include "channel_sums.cuh"

// y = x where x > 0 (or NaN), slope x elsewhere; y may be x, and `saved` then keeps x.
extern "C" __global__ void prelu_forward(const float *x, const float *slopes, float *y,
                                         float *saved, int count, int size, int inner) {
    for_vectors(count, aligned(x, y, saved), [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        auto values = load<WIDTH>(x + i);
        if (saved) store(saved + i, values);
        Channel channel(i, size, inner);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k, ++channel)
            if (values.at[k] <= 0) values.at[k] *= slopes[channel.index];
        store(y + i, values);
    });
}

// bottom_diff = top_diff where x > 0, slope top_diff elsewhere; it may be top_diff.
extern "C" __global__ void prelu_backward(const float *x, const float *top_diff,
                                          const float *slopes, float *bottom_diff, int count,
                                          int size, int inner) {
    for_vectors(count, aligned(x, top_diff, bottom_diff), [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        const auto values = load<WIDTH>(x + i);
        auto diff = load<WIDTH>(top_diff + i);
        Channel channel(i, size, inner);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k, ++channel)
            diff.at[k] *= values.at[k] > 0 ? 1 : slopes[channel.index];
        store(bottom_diff + i, diff);
    });
}

__device__ __forceinline__ float below_zero(float x, float diff) { return (x > 0 ? 0 : x) * diff; }

extern "C" __global__ void slope_gradient_runs(CHANNEL_SUM) {
    sum_runs(x, top_diff, partial, outer, size, inner, share, below_zero);
}
extern "C" __global__ void slope_gradient_columns(CHANNEL_SUM) {
    sum_columns(x, top_diff, partial, outer, size, inner, share, below_zero);
}
