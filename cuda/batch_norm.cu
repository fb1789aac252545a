// Normalisation of arrays (batch, channels, positions) by the mean and variance of each channel.
//
// A channel is shared by `splits` blocks, whose results one warp joins afterwards, always in the
// same order. Rows to be normalised one by one, as MVN has them, are channels of a batch of 1.
#include "moments.cuh"
#include "vectors.cuh"

const int AT_ONCE = 4;  // elements that a thread reads before it uses the first

// What a block does: a share of a channel's elements, dealt out to all threads that work on it.
struct Share {
    int channel, part;
    int n, i;            // where this thread begins: example and position
    int step_n, step_i;  // from one of its elements to the next

    __device__ __forceinline__ Share(int positions, int splits)
        : channel(blockIdx.x / splits), part(blockIdx.x % splits) {
        const int first = part * blockDim.x + threadIdx.x, step = splits * blockDim.x;
        n = first / positions, i = first % positions;
        step_n = step / positions, step_i = step % positions;
    }
    __device__ __forceinline__ void next(int positions) {
        n += step_n;
        i += step_i;
        if (i >= positions) i -= positions, ++n;
    }
};

extern "C" __global__ void channel_moments(const float *x, int batch, int channels, int positions,
                                           int splits, Moments *parts) {
    Share share(positions, splits);
    Moments moments;
    while (share.n < batch) {
        float values[AT_ONCE];
        int present = 0;
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            if (share.n < batch) {
                const int64 plane = int64(share.n) * channels + share.channel;
                values[k] = x[plane * positions + share.i];
                present = k + 1;
            }
            share.next(positions);
        }
        moments.add(values, present);
    }
    moments = moments.of_block();
    if (threadIdx.x == 0) parts[blockIdx.x] = moments;
}

// What differences from the mean are multiplied by. BatchNorm adds eps to the variance, MVN to the
// deviation.
__device__ __forceinline__ float inverse_deviation(float variance, float eps, int eps_outside) {
    return eps_outside ? 1 / (sqrtf(variance) + eps)
                       : static_cast<float>(1 / sqrt(static_cast<double>(variance) + eps));
}

// The mean and the factor of each channel, and the running sums brought up to date; those may be
// null. A warp for each channel.
extern "C" __global__ void channel_statistics(const Moments *parts, int channels, int splits,
                                              float eps, int eps_outside, float *mean,
                                              float *factor, float *running_mean,
                                              float *running_variance, float *running_weight,
                                              float fraction, float correction) {
    const int channel = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (channel >= channels) return;
    Moments moments;
    for (int s = lane; s < splits; s += 32) moments.merge(parts[channel * splits + s]);
    moments = moments.of_warp();
    if (lane > 0) return;
    const float variance = moments.squares / moments.count;
    mean[channel] = moments.mean;
    factor[channel] = inverse_deviation(variance, eps, eps_outside);
    if (!running_mean) return;
    running_mean[channel] = fraction * running_mean[channel] + moments.mean;
    running_variance[channel] = fraction * running_variance[channel] + correction * variance;
    if (channel == 0) *running_weight = fraction * *running_weight + 1;
}

// The mean and the factor of each channel from the running sums.
extern "C" __global__ void running_statistics(const float *running_mean,
                                              const float *running_variance,
                                              const float *running_weight, int channels, float eps,
                                              float *mean, float *factor) {
    const float weight = *running_weight, scale = weight == 0 ? 0 : 1 / weight;
    for_each(channel, channels) {
        mean[channel] = running_mean[channel] * scale;
        factor[channel] = inverse_deviation(running_variance[channel] * scale, eps, 0);
    }
}

// A channel's number, or what stands for it where there are no numbers.
__device__ __forceinline__ float of_channel(const float *numbers, int channel, float otherwise) {
    return numbers ? numbers[channel] : otherwise;
}

// y = (x - mean) factor; y may be x, and `kept` receives a copy of it. mean, factor and kept may be
// null: 0, 1, and no copy.
extern "C" __global__ void normalize(const float *x, int count, int channels, int positions,
                                     const float *mean, const float *factor, float *y,
                                     float *kept) {
    const bool in_vectors = positions % 4 == 0 && aligned(x, y, kept);
    for_vectors(count, in_vectors, [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        const int channel = i / positions % channels;
        const float center = of_channel(mean, channel, 0), scale = of_channel(factor, channel, 1);
        const auto values = mapped<WIDTH>(
            [=](float value) { return (value - center) * scale; }, load<WIDTH>(x + i));
        if (kept) store(kept + i, values);
        store(y + i, values);
    });
}

// What the gradient needs of a channel: the sums of the top's diffs, and of their products with the
// normalised values.
struct Sums {
    double diff, product;
};

// The normalised values are (input - mean) factor; input, mean and factor may be null.
extern "C" __global__ void gradient_sums(const float *y_diff, const float *input, int batch,
                                         int channels, int positions, const float *mean,
                                         const float *factor, int splits, Sums *parts) {
    Share share(positions, splits);
    const float center = of_channel(mean, share.channel, 0);
    const float scale = of_channel(factor, share.channel, 1);
    Sums sums = {0, 0};
    while (share.n < batch) {
        float diffs[AT_ONCE] = {}, values[AT_ONCE] = {};
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            if (share.n < batch) {
                const int64 plane = int64(share.n) * channels + share.channel;
                const int64 at = plane * positions + share.i;
                diffs[k] = y_diff[at];
                if (input) values[k] = (input[at] - center) * scale;
            }
            share.next(positions);
        }
        // A few in float32 and the many in float64, which most GPUs are slow in.
        float diff = 0, product = 0;
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) diff += diffs[k], product += diffs[k] * values[k];
        sums.diff += diff;
        sums.product += product;
    }
    sums = {block_sum(sums.diff), block_sum(sums.product)};
    if (threadIdx.x == 0) parts[blockIdx.x] = sums;
}

// The means of both for each channel, in `center` and `slope`. A warp for each channel.
extern "C" __global__ void gradient_means(const Sums *parts, int channels, int splits, float count,
                                          float *center, float *slope) {
    const int channel = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (channel >= channels) return;
    Sums sums = {0, 0};
    for (int s = lane; s < splits; s += 32) {
        sums.diff += parts[channel * splits + s].diff;
        sums.product += parts[channel * splits + s].product;
    }
    sums = {warp_sum(sums.diff), warp_sum(sums.product)};
    if (lane > 0) return;
    center[channel] = sums.diff / count;
    slope[channel] = sums.product / count;
}

// x_diff = (y_diff - center - slope normalised) scale; x_diff may be y_diff. The normalised values
// are (input - mean) factor; all but the diffs, center and slope may be null.
extern "C" __global__ void normalize_backward(const float *y_diff, const float *input, int count,
                                              int channels, int positions, const float *mean,
                                              const float *factor, const float *center,
                                              const float *slope, const float *scale,
                                              float *x_diff) {
    const bool in_vectors = positions % 4 == 0 && aligned(y_diff, input, x_diff);
    for_vectors(count, in_vectors, [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        const int channel = i / positions % channels;
        const float at = of_channel(mean, channel, 0), by = of_channel(factor, channel, 1);
        const float level = center[channel], steep = slope[channel];
        const float out = of_channel(scale, channel, 1);
        Vector<float, WIDTH> values = {};
        if (input) values = load<WIDTH>(input + i);
        const auto diffs = load<WIDTH>(y_diff + i);
        store(x_diff + i, mapped<WIDTH>(
                              [=](float diff, float value) {
                                  return (diff - level - steep * ((value - at) * by)) * out;
                              },
                              diffs, values));
    });
}
