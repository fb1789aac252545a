// Kernels for the tests of the emulation: a few that are right, and planted faults.
#include "common.cuh"

const int WIDTH = 256;

// ---- right

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

// One step of the stencil (1 2 1)/4, zero outside the row.
__device__ float smoothed(const float *row, int i) {
    return 0.25f * row[i] + 0.5f * row[i + 1] + 0.25f * row[i + 2];
}

// `steps` of it on rows of WIDTH.
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

// ---- faults: barriers

extern "C" __global__ void some_return_before_the_barrier(float *y) {
    if (threadIdx.x >= 40) return;
    __syncthreads();
    y[threadIdx.x] = 1.0f;
}

extern "C" __global__ void divergent_barrier(float *y) {
    if (threadIdx.x % 2)
        __syncthreads();
    else
        __syncthreads();
    y[threadIdx.x] = 1.0f;
}

extern "C" __global__ void different_barriers(float *y) {
    y[threadIdx.x] = threadIdx.x < 32 ? __syncthreads_or(1) : __syncthreads_and(1);
}

extern "C" __global__ void one_more_barrier(float *y) {
    for (int i = 0; i <= static_cast<int>(threadIdx.x / 32); ++i) __syncthreads();
    y[threadIdx.x] = 1.0f;
}

// The stencil without its second barrier.
extern "C" __global__ void missing_barrier(const float *x, float *y, int steps) {
    __shared__ float row[WIDTH + 2];
    const int t = threadIdx.x;
    if (t == 0) row[0] = row[WIDTH + 1] = 0.0f;
    row[t + 1] = x[blockIdx.x * WIDTH + t];
    for (int s = 0; s < steps; ++s) {
        __syncthreads();
        row[t + 1] = smoothed(row, t);
    }
    y[blockIdx.x * WIDTH + t] = row[t + 1];
}

// Lanes that pass values through shared memory without __syncwarp().
extern "C" __global__ void missing_syncwarp(float *y) {
    __shared__ float values[64];
    values[threadIdx.x] = threadIdx.x;
    y[threadIdx.x] = values[threadIdx.x ^ 1];
}

// Blocks that do not wait for each other: which one is last is chance.
extern "C" __global__ void race_of_blocks(int *y) {
    if (threadIdx.x == 0) y[0] = blockIdx.x;
}

// ---- faults: warps

extern "C" __global__ void mask_of_absent_lanes(float *y) {
    if (threadIdx.x < 16) y[threadIdx.x] = __shfl_up_sync(ALL_LANES, 1.0f, 1);
}

extern "C" __global__ void mask_beyond_the_block(float *y) {
    y[threadIdx.x] = __shfl_up_sync(ALL_LANES, 1.0f, 1);
}

extern "C" __global__ void lane_outside_its_mask(float *y) {
    y[threadIdx.x] = __shfl_xor_sync(0xffffu, 1.0f, 1);
}

extern "C" __global__ void source_outside_the_mask(float *y) {
    if (threadIdx.x < 16) y[threadIdx.x] = __shfl_xor_sync(0xffffu, 1.0f, 16);
}

extern "C" __global__ void different_masks(float *y) {
    y[threadIdx.x] = __shfl_xor_sync(threadIdx.x % 32 < 16 ? ALL_LANES : 0xffff0000u, 1.0f, 1);
}

// ---- faults: memory

extern "C" __global__ void reads_unwritten_shared(float *y) {
    __shared__ float values[64];
    if (threadIdx.x < 63) values[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = values[threadIdx.x];
}

extern "C" __global__ void writes_outside_shared(float *y) {
    __shared__ float values[64];
    values[threadIdx.x + 1] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = values[threadIdx.x];
}

extern "C" __global__ void writes_outside_dynamic_shared(float *y) {
    DYNAMIC_SHARED(float, values);
    values[threadIdx.x + 1] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = values[threadIdx.x];
}

// Through a function, behind which the compiler does not know the array's length.
__device__ __noinline__ float element(const float *values, int i) { return values[i]; }

extern "C" __global__ void reads_outside_shared(float *y) {
    __shared__ float values[64], others[64];
    values[threadIdx.x] = others[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = element(values, threadIdx.x + 1) + element(others, threadIdx.x + 1);
}

extern "C" __global__ void reads_outside_dynamic_shared(float *y) {
    DYNAMIC_SHARED(float, values);
    values[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = values[threadIdx.x + 1];
}

extern "C" __global__ void writes_outside_its_array(float *y) { y[threadIdx.x + 1] = 1.0f; }

extern "C" __global__ void writes_before_its_array(float *y) {
    y[static_cast<int>(threadIdx.x) - 1] = 1.0f;
}

extern "C" __global__ void reads_outside_its_array(float *y) {
    const float value = y[threadIdx.x + 1];
    __syncthreads();
    y[threadIdx.x] = value;
}

extern "C" __global__ void misaligned_vector(float *y) {
    *reinterpret_cast<float4 *>(y + 1) = make_float4(1.0f, 2.0f, 3.0f, 4.0f);
}

extern "C" __global__ void wild_address(float *y) {
    reinterpret_cast<float *>(static_cast<size_t>(0x123456789000))[threadIdx.x] = y[threadIdx.x];
}

extern "C" __global__ void null_address(float *y) { y[threadIdx.x] = 1.0f; }

extern "C" __global__ void divides_by_zero(int *y, int zero) { y[threadIdx.x] /= zero; }

extern "C" __global__ void overflows(int *y, int large) { y[threadIdx.x] = large * large; }

extern "C" __global__ void large_local_array(float *y, int size) {
    float local[70000];
    for (int i = 0; i < size; ++i) local[i] = y[i % 64];
    for (int i = 0; i < size; ++i) y[threadIdx.x] += local[i];
}

extern "C" __global__ void shifts(int *y, int bits) { y[threadIdx.x] <<= bits; }

extern "C" __global__ void asserts(float *y) {
    assert(threadIdx.x < 63);
    y[threadIdx.x] = 1.0f;
}

// ---- variants

#ifdef FLOAT_ATOMICS
extern "C" __global__ void adds_floats(float *y) { atomicAdd(y, 1.0f); }
#endif

#ifdef VARIANT
extern "C" __global__ void variant(float *y) { y[0] = VARIANT * VARIANT; }
#endif
