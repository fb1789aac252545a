// The last step of the sums of channel_sums.cuh.
#include "channel_sums.cuh"

// gradient[c] = the sum of partial[p][c][k] over all parts p and columns k, after what was there if
// `accumulate`. A warp takes a channel.
extern "C" __global__ void add_up_channel_sums(const float *partial, int parts, int size,
                                               int columns, float *gradient, int accumulate) {
    const int channel = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (channel >= size) return;
    float sum = 0;
    for (int i = threadIdx.x % 32; i < parts * columns; i += 32)
        sum += partial[(i / columns * size + channel) * columns + i % columns];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) gradient[channel] = accumulate ? gradient[channel] + sum : sum;
}
