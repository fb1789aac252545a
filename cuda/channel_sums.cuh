// Arrays of shape (outer, size, inner), where one number belongs to each index of the middle axis,
// the channel: a scale, a bias, a slope.
#pragma once
#include "vectors.cuh"

// The channel of element i, then of i + 1, and so on: divisions cost more than steps.
struct Channel {
    int index, size, inner, left;

    __device__ __forceinline__ Channel(int i, int size, int inner)
        : index(i / inner % size), size(size), inner(inner), left(inner - i % inner) {}
    __device__ __forceinline__ void operator++() {
        if (--left > 0) return;
        left = inner;
        index = index + 1 == size ? 0 : index + 1;
    }
};

// The gradient of a channel's number is the sum of term(x, top_diff) over the channel's elements. With
// few channels, too, it is to keep the device busy, and must not depend on the order in which blocks
// run: blocks write partial sums of shape (parts, size, columns), which channel_sums.cu adds up. A part
// is what all blocks with the same blockIdx.y sum.
#define CHANNEL_SUM                                                                              \
    const float *x, const float *top_diff, float *partial, int outer, int size, int inner, int share

// Of elements i to i + WIDTH - 1; x may be null.
template <int WIDTH, typename Term>
__device__ __forceinline__ float sum_of(Term term, const float *x, const float *top_diff, int i) {
    Vector<float, WIDTH> value = {};
    if (x) value = load<WIDTH>(x + i);
    const auto diff = load<WIDTH>(top_diff + i);
    float sum = 0;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) sum += term(value.at[k], diff.at[k]);
    return sum;
}

// Where channels are long runs: blockIdx.x is the channel; a part is `share` of its elements, a
// multiple of 4 so that vectors stay aligned. There is one column.
template <typename Term>
__device__ __forceinline__ void sum_runs(CHANNEL_SUM, Term term) {
    const int channel = blockIdx.x;
    const int begin = blockIdx.y * share, end = begin + min(share, outer * inner - begin);
    float sum = 0;
    const auto add = [&](auto width) {
        constexpr int WIDTH = decltype(width)::value;
        // In 64 bits, where the last step past 2^31 - 1 does not overflow.
        for (int64 at = begin + WIDTH * threadIdx.x; at < end; at += WIDTH * blockDim.x) {
            const int i = static_cast<int>(at);
            const int element = (i / inner * size + channel) * inner + i % inner;
            sum += sum_of<WIDTH>(term, x, top_diff, element);
        }
    };
    if (aligned(x, top_diff) && inner % 4 == 0)
        add(Width<4>());
    else
        add(Width<1>());
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[blockIdx.y * size + channel] = sum;
}

const int COLUMNS = 32;  // blockDim.x: a thread for each column
const int ROWS = 8;      // blockDim.y: threads that share a column's rows

// Where they are short: the array is a matrix of (outer, size * inner), of which a block sums
// COLUMNS neighbouring columns; a part has `share` rows. There are `inner` columns.
template <typename Term>
__device__ __forceinline__ void sum_columns(CHANNEL_SUM, Term term) {
    __shared__ float of_row[ROWS][COLUMNS];
    const int width = size * inner;
    const int column = blockIdx.x * COLUMNS + threadIdx.x;
    const int begin = blockIdx.y * share, end = begin + min(share, outer - begin);
    float sum = 0;
    if (column < width)
        for (int row = begin + threadIdx.y; row < end; row += ROWS)
            sum += sum_of<1>(term, x, top_diff, row * width + column);
    of_row[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || column >= width) return;
    for (int row = 1; row < ROWS; ++row) sum += of_row[row][threadIdx.x];
    partial[blockIdx.y * width + column] = sum;
}
