// Scale and Bias: a factor and a summand for each channel of (outer, size, inner).
#include "channel_sums.cuh"

// y = x scale + bias. The scale or the bias may be null, and y may be x; `saved` then keeps x.
extern "C" __global__ void scale(const float *x, const float *scale, const float *bias, float *y,
                                 float *saved, int count, int size, int inner) {
    for_vectors(count, aligned(x, y, saved), [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        auto values = load<WIDTH>(x + i);
        if (saved) store(saved + i, values);
        Channel channel(i, size, inner);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k, ++channel) {
            if (scale) values.at[k] *= scale[channel.index];
            if (bias) values.at[k] += bias[channel.index];
        }
        store(y + i, values);
    });
}

__device__ __forceinline__ float product(float x, float diff) { return x * diff; }

extern "C" __global__ void factor_gradient_runs(CHANNEL_SUM) {
    sum_runs(x, top_diff, partial, outer, size, inner, share, product);
}
extern "C" __global__ void factor_gradient_columns(CHANNEL_SUM) {
    sum_columns(x, top_diff, partial, outer, size, inner, share, product);
}

__device__ __forceinline__ float second(float, float diff) { return diff; }

extern "C" __global__ void summand_gradient_runs(CHANNEL_SUM) {
    sum_runs(x, top_diff, partial, outer, size, inner, share, second);
}
extern "C" __global__ void summand_gradient_columns(CHANNEL_SUM) {
    sum_columns(x, top_diff, partial, outer, size, inner, share, second);
}
