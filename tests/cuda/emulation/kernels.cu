// Kernels that are right, for the tests of the emulation.
#include "stencil.cuh"

// y = x / |x| for each row of `columns` elements, which are kept in dynamic shared memory.
extern "C" __global__ void __launch_bounds__(256) normalize_rows(const float *x, float *y,
                                                                 int columns) {
    DYNAMIC_SHARED(float, row);
    float squares = 0.0f;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) {
        row[i] = x[static_cast<size_t>(blockIdx.x) * columns + i];
        squares += row[i] * row[i];
    }
    squares = block_sum(squares);
    for (int i = threadIdx.x; i < columns; i += blockDim.x)
        y[static_cast<size_t>(blockIdx.x) * columns + i] = row[i] / sqrtf(squares);
}

// `steps` of the stencil on rows of WIDTH.
extern "C" __global__ void stencil(const float *x, float *y, int steps) {
    __shared__ float row[WIDTH + 2];
    const int t = threadIdx.x;
    if (t == 0) row[0] = row[WIDTH + 1] = 0.0f;
    row[t + 1] = x[blockIdx.x * WIDTH + t];
    for (int s = 0; s < steps; ++s) {
        __syncthreads();
        const float value = smoothed(row, t);
        __syncthreads();
        row[t + 1] = value;
    }
    y[blockIdx.x * WIDTH + t] = row[t + 1];
}

extern "C" __global__ void grid_stride(const int *x, int *y, int count) {
    for_each(i, count) {
        if (i % 7 == 0) continue;
        y[i] = x[i] + i;
    }
}

// The last index of a loop whose last step passes 2^31 - 1; the other threads need not run.
extern "C" __global__ void last_index(int *last, int count) {
    const uint32 threads = gridDim.x * blockDim.x;
    if (blockIdx.x * blockDim.x + threadIdx.x != (count - 1) % threads) return;
    for_each(i, count) *last = i;
}

// The sum and the greatest of a block, as each thread got them.
extern "C" __global__ void block_sums(const float *x, float *sums, float *greatest) {
    const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    sums[thread] = block_sum(x[thread]);
    greatest[thread] = block_max(x[thread]);
}

extern "C" __global__ void functions(float *out, float nan) {
    int i = 0;
    out[i++] = max(nan, 3.0f);
    out[i++] = min(-2, 1u > 0);
    out[i++] = __fdividef(1.0f, 2.0f);
    out[i++] = __saturatef(nan);
    out[i++] = __saturatef(7.0f);
    out[i++] = __float2int_rn(nan);
    out[i++] = __float2int_rz(1e20f);
    out[i++] = __float2int_rd(-1e20f);
    out[i++] = __float2int_rn(2.5f);
    out[i++] = __float2int_ru(2.5f);
    out[i++] = __clz(0);
    out[i++] = __clz(15);
    out[i++] = __ffs(16);
    out[i++] = __popc(64u);
    out[i++] = rsqrtf(0.25f);
    out[i++] = __int_as_float(__float_as_int(7.0f));
}

// What each shuffle and vote gives, one row of 32 for each.
extern "C" __global__ void warp_functions(int *out) {
    const int lane = threadIdx.x;
    out[lane] = __shfl_sync(ALL_LANES, lane, 5);
    out[32 + lane] = __shfl_up_sync(ALL_LANES, lane, 3, 8);
    out[64 + lane] = __shfl_down_sync(ALL_LANES, lane, 3, 8);
    out[96 + lane] = __shfl_xor_sync(ALL_LANES, lane, 9);
    out[128 + lane] = __ballot_sync(ALL_LANES, lane % 3 == 0);
    // Halves that meet on their own, one more often than the other.
    const uint32 half = lane < 16 ? 0xffffu : 0xffff0000u;
    int sum = lane;
    for (int i = 0; i < (lane < 16 ? 3 : 1); ++i) sum += __shfl_xor_sync(half, sum, 1);
    out[160 + lane] = sum;
    out[192 + lane] = __all_sync(half, lane < 16) + 2 * __any_sync(half, lane == 20);
}

extern "C" __global__ void block_votes(const int *x, int *out) {
    const int vote = x[threadIdx.x];
    const int any = __syncthreads_or(vote), all = __syncthreads_and(vote);
    out[threadIdx.x] = __syncthreads_count(vote) * 4 + all * 2 + any;
}

extern "C" __global__ void histogram(const int *x, int count, int *bins, uint32 *blocks_done) {
    __shared__ int mine[16];
    if (threadIdx.x < 16) mine[threadIdx.x] = 0;
    __syncthreads();
    for_each(i, count) atomicAdd(&mine[x[i]], 1);
    __syncthreads();
    if (threadIdx.x < 16) atomicAdd(&bins[threadIdx.x], mine[threadIdx.x]);
    if (threadIdx.x == 0) atomicInc(blocks_done, gridDim.x);
}

extern "C" __global__ void copy_vectors(const float4 *x, float4 *y, int count) {
    for_each(i, count) y[i] = __ldg(x + i);
}
