// What belongs to a channel: biases added, and gradients added up.
#include "common.cuh"

// y[n, k, p] += bias[k], for planes of many pixels: blockIdx.y goes over the planes.
extern "C" __global__ void add_to_planes(float *y, const float *bias, int planes, int channels,
                                         int pixels) {
    for (int plane = blockIdx.y; plane < planes; plane += gridDim.y) {
        const float value = bias[plane % channels];
        float *target = y + static_cast<int64>(plane) * pixels;
        for_each(p, pixels) target[p] += value;
    }
}

// The same for planes of few.
extern "C" __global__ void add_to_elements(float *y, const float *bias, int count, int channels,
                                           int pixels) {
    for_each(i, count) y[i] += bias[i / pixels % channels];
}

// partial[s, k] = the sum of y[n, k, p] over the pieces s, s + slices, ... of channel k. Each plane is
// cut into `cuts` pieces of `length` pixels. With one slice, sums[k] += it.
extern "C" __global__ void sum_planes(const float *y, float *partial, float *sums, int images,
                                      int channels, int pixels, int cuts, int length) {
    const int channel = blockIdx.x, slices = gridDim.y;
    float sum = 0;
    for (int piece = blockIdx.y; piece < images * cuts; piece += slices) {
        const int image = piece / cuts, start = piece % cuts * length;
        const int end = min(pixels, start + length);
        const float *source = y + (static_cast<int64>(image) * channels + channel) * pixels;
        for (int p = start + threadIdx.x; p < end; p += blockDim.x) sum += source[p];
    }
    sum = block_sum(sum);
    if (threadIdx.x) return;
    if (slices == 1)
        sums[channel] += sum;
    else
        partial[static_cast<int64>(blockIdx.y) * channels + channel] = sum;
}

// The same for planes of one pixel: y is (rows, channels), and neighbouring threads read neighbouring
// channels. A block is 32 channels wide and 8 rows high.
#define HIGH 8
extern "C" __global__ void sum_rows(const float *y, float *partial, float *sums, int rows,
                                    int channels) {
    __shared__ float of_row[HIGH][32];
    const int channel = blockIdx.x * 32 + threadIdx.x, slices = gridDim.y;
    float sum = 0;
    if (channel < channels)
        for (int64 row = blockIdx.y * HIGH + threadIdx.y; row < rows; row += slices * HIGH)
            sum += y[row * channels + channel];
    of_row[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || channel >= channels) return;
    for (int i = 1; i < HIGH; ++i) sum += of_row[i][threadIdx.x];
    if (slices == 1)
        sums[channel] += sum;
    else
        partial[static_cast<int64>(blockIdx.y) * channels + channel] = sum;
}

// sums[k] += partial[0, k] + partial[1, k] + ...
extern "C" __global__ void add_slices(const float *partial, float *sums, int slices, int channels) {
    for_each(k, channels) {
        float sum = 0;
        for (int s = 0; s < slices; ++s) sum += partial[static_cast<int64>(s) * channels + k];
        sums[k] += sum;
    }
}
