// Count, mean and squared deviations of numbers, in one pass over them.
//
// Numbers are added relative to the mean so far, so that no digits are lost where the mean is large
// beside the deviations; equal numbers have exactly themselves as mean, and no deviations at all.
//
// Source: T. Chan, G. Golub and R. LeVeque, "Updating formulae and a pairwise algorithm for
// computing sample variances", 1979.
#pragma once
#include "common.cuh"

struct Moments {
    float count = 0, mean = 0, squares = 0;  // squares: the sum of (x - mean)^2

    // Add the first `present` of the numbers.
    template <int MOST>
    __device__ __forceinline__ void add(const float (&x)[MOST], int present) {
        if (count == 0) mean = x[0];
        float sum = 0, of_squares = 0;
#pragma unroll
        for (int k = 0; k < MOST; ++k) {
            const float difference = k < present ? x[k] - mean : 0;
            sum += difference;
            of_squares += difference * difference;
        }
        count += present;
        const float shift = sum / count;
        mean += shift;
        squares += of_squares - sum * shift;
    }

    __device__ __forceinline__ void merge(const Moments &other) {
        if (other.count == 0) return;
        const float before = count, difference = other.mean - mean;
        count += other.count;
        const float share = other.count / count;
        mean = before == 0 ? other.mean : mean + difference * share;
        squares += other.squares + difference * difference * before * share;
    }

    // Of all lanes of a warp, in lane 0.
    __device__ __forceinline__ Moments of_warp() const {
        Moments all = *this;
        for (int offset = 16; offset > 0; offset /= 2) {
            Moments other;
            other.count = __shfl_down_sync(ALL_LANES, all.count, offset);
            other.mean = __shfl_down_sync(ALL_LANES, all.mean, offset);
            other.squares = __shfl_down_sync(ALL_LANES, all.squares, offset);
            all.merge(other);
        }
        return all;
    }

    // Of all threads of a one-dimensional block of full warps, in thread 0.
    __device__ __forceinline__ Moments of_block() const {
        __shared__ float counts[32], means[32], sums[32];
        const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
        Moments all = of_warp();
        if (lane == 0) {
            const int warp = threadIdx.x / 32;
            counts[warp] = all.count, means[warp] = all.mean, sums[warp] = all.squares;
        }
        __syncthreads();
        all = Moments();
        if (lane < warps)
            all.count = counts[lane], all.mean = means[lane], all.squares = sums[lane];
        all = all.of_warp();
        __syncthreads();  // the shared arrays are free again
        return all;
    }
};
