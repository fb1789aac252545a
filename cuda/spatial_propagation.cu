// Spatial propagation: normalise the gates, scan a map in four directions, and join the results.
//
// x (N, C, H, W), guidance (N, 4 G C, H, W): channel (d G + i) C + c is gate i of direction d. One
// launch scans all four directions. Compiled for a size of map (see recurrence.py):
//
//   THREADS == 32   `..._maps`: a block has one warp for each direction of a map, the four results
//   meet in
//                   shared memory and only what the caller keeps is written. For maps that fit
//                   there.
//   otherwise       `..._lines`: a block scans one direction of a map, the four results meet in
//   device
//                   memory, and `join` or `sum_directions` follows.
//
// Source: "Learning Affinity via Spatial Propagation Networks", Liu et al., NeurIPS 2017.
#include "recurrence.cuh"
#ifdef LONG_LINES
#include "recurrence_long.cuh"
#else
#include "recurrence_scan.cuh"
#endif

constexpr int DIRECTIONS = 4;
constexpr int GROUP = ALIGNED ? 4 : 1;  // elements that are joined at a time

// The gates of a direction in map `map` (n C + c) of N C.
template <class T>
__device__ __forceinline__ void gates_of(T *(&gates)[G], T *guidance, int direction, int map, int C,
                                         size_t area) {
    const int n = map / C, c = map % C;
#pragma unroll
    for (int i = 0; i < G; ++i)
        gates[i] = guidance + (((size_t)n * DIRECTIONS + direction) * G + i) * C * area + c * area;
}

// The joined value: the largest (the first of equals; NaN wins), or the sum times `factor`.
__device__ __forceinline__ float joined(const float (&h)[DIRECTIONS], bool largest, float factor,
                                        unsigned char &winner) {
    float result = h[0];
    winner = 0;
#pragma unroll
    for (int d = 1; d < DIRECTIONS; ++d) {
        if (!largest) {
            result += h[d];
        } else if (h[d] > result || h[d] != h[d]) {
            result = h[d];
            winner = d;
        }
    }
    return largest ? result : result * factor;
}

// Elements at, at + 1, ... of four maps of results, `stride` apart, to elements of the whole
// result.
__device__ __forceinline__ void join_at(const float *maps, size_t stride, float *out,
                                        unsigned char *winners, bool largest, float factor) {
    Vector<float, GROUP> h[DIRECTIONS], result;
    Vector<unsigned char, GROUP> winner;
#pragma unroll
    for (int d = 0; d < DIRECTIONS; ++d) h[d] = load<GROUP>(maps + d * stride);
#pragma unroll
    for (int j = 0; j < GROUP; ++j) {
        const float values[DIRECTIONS] = {h[0].at[j], h[1].at[j], h[2].at[j], h[3].at[j]};
        result.at[j] = joined(values, largest, factor, winner.at[j]);
    }
    store(out, result);
    if (winners) store(winners, winner);
}

__device__ __forceinline__ void sum_at(const float *maps, size_t stride, float *out) {
    Vector<float, GROUP> sum = load<GROUP>(maps);
#pragma unroll
    for (int d = 1; d < DIRECTIONS; ++d) {
        const auto term = load<GROUP>(maps + d * stride);
#pragma unroll
        for (int j = 0; j < GROUP; ++j) sum.at[j] += term.at[j];
    }
    store(out, sum);
}

#if THREADS == 32

constexpr int BLOCK = 32 * DIRECTIONS;

// f(element of the map, the same in shared memory) for all groups of a map's `GROUP` elements, in
// parallel.
template <class F>
__device__ __forceinline__ void for_elements(int H, int W, int pitch, F f) {
    for (int i = (threadIdx.y * 32 + threadIdx.x) * GROUP; i < H * W; i += BLOCK * GROUP)
        f(i, i / W * pitch + i % W);
}

// Grid: N C. Shared memory: 4 H pitch floats. `h` (4, N, C, H, W) and `winners` may be null.
extern "C" __global__ void __launch_bounds__(BLOCK, 1)
    propagate_maps(const float *__restrict__ x, const float *__restrict__ guidance,
                   float *__restrict__ out, float *__restrict__ h,
                   unsigned char *__restrict__ winners, int C, int H, int W, int pitch,
                   float weight, float floor, int largest, float factor) {
    DYNAMIC_SHARED(float, maps);
    const size_t area = (size_t)H * W, map = blockIdx.x;
    const int stride = H * pitch;
    const Rule rule = {weight, floor};
    with_direction(threadIdx.y, [&](auto direction) {
        constexpr int D = decltype(direction)::index;
        const float *gates[G];
        gates_of(gates, guidance, D, map, C, area);
        scan_forward(Scan<D>{H, W}, rule, x + map * area, gates, maps + D * stride, pitch);
    });
    __syncthreads();
    unsigned char *map_winners = winners ? winners + map * area : nullptr;
    for_elements(H, W, pitch, [&](int i, int place) {
        join_at(maps + place, stride, out + map * area + i, map_winners ? map_winners + i : nullptr,
                largest, factor);
        if (h) {
#pragma unroll
            for (int d = 0; d < DIRECTIONS; ++d)
                store(h + ((size_t)d * gridDim.x + map) * area + i,
                      load<GROUP>(maps + d * stride + place));
        }
    });
}

// Grid, shared memory: as above. guidance_diff is replaced, or added to with `add`.
extern "C" __global__ void __launch_bounds__(BLOCK, 1)
    propagate_maps_backward(const float *__restrict__ x, const float *__restrict__ guidance,
                            const float *__restrict__ h, const unsigned char *__restrict__ winners,
                            const float *__restrict__ out_diff, float *__restrict__ x_diff,
                            float *__restrict__ guidance_diff, int C, int H, int W, int pitch,
                            float weight, float floor, float factor, int add) {
    DYNAMIC_SHARED(float, maps);
    const size_t area = (size_t)H * W, map = blockIdx.x;
    const int stride = H * pitch;
    const Rule rule = {weight, floor};
    const OutDiff out = {out_diff + map * area, winners ? winners + map * area : nullptr, factor};
    with_direction(threadIdx.y, [&](auto direction) {
        constexpr int D = decltype(direction)::index;
        const float *gates[G];
        float *gate_diffs[G];
        gates_of(gates, guidance, D, map, C, area);
        gates_of(gate_diffs, guidance_diff, D, map, C, area);
        scan_backward(Scan<D>{H, W}, rule, x + map * area, gates,
                      h + ((size_t)D * gridDim.x + map) * area, out, maps + D * stride, pitch,
                      gate_diffs, add != 0, static_cast<float *>(nullptr));
    });
    __syncthreads();
    for_elements(H, W, pitch,
                 [&](int i, int place) { sum_at(maps + place, stride, x_diff + map * area + i); });
}

#else

// Grid: (N C, 4). h (4, N, C, H, W): the four results.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    propagate_lines(const float *__restrict__ x, const float *__restrict__ guidance,
                    float *__restrict__ h, int C, int H, int W, float weight, float floor) {
    const size_t area = (size_t)H * W, map = blockIdx.x;
    const Rule rule = {weight, floor};
    with_direction(blockIdx.y, [&](auto direction) {
        constexpr int D = decltype(direction)::index;
        const float *gates[G];
        gates_of(gates, guidance, D, map, C, area);
        scan_forward(Scan<D>{H, W}, rule, x + map * area, gates,
                     h + ((size_t)D * gridDim.x + map) * area, W);
    });
}

// Grid: (N C, 4). x_diffs (4, N, C, H, W): the derivative by x of each direction. lines:
// LINE_FLOATS max(H, W) floats for each block.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    propagate_lines_backward(const float *__restrict__ x, const float *__restrict__ guidance,
                             const float *__restrict__ h, const unsigned char *__restrict__ winners,
                             const float *__restrict__ out_diff, float *__restrict__ x_diffs,
                             float *__restrict__ guidance_diff, float *lines, int C, int H, int W,
                             float weight, float floor, float factor, int add) {
    const size_t area = (size_t)H * W, map = blockIdx.x;
    const Rule rule = {weight, floor};
    const OutDiff out = {out_diff + map * area, winners ? winners + map * area : nullptr, factor};
    float *block_lines =
        lines + ((size_t)blockIdx.y * gridDim.x + map) * LINE_FLOATS * (H > W ? H : W);
    with_direction(blockIdx.y, [&](auto direction) {
        constexpr int D = decltype(direction)::index;
        const size_t place = ((size_t)D * gridDim.x + map) * area;
        const float *gates[G];
        float *gate_diffs[G];
        gates_of(gates, guidance, D, map, C, area);
        gates_of(gate_diffs, guidance_diff, D, map, C, area);
        scan_backward(Scan<D>{H, W}, rule, x + map * area, gates, h + place, out, x_diffs + place,
                      W, gate_diffs, add != 0, block_lines);
    });
}

// out = the four results joined, `groups` groups of elements each; winners may be null.
extern "C" __global__ void join(const float *__restrict__ h, float *__restrict__ out,
                                unsigned char *__restrict__ winners, int groups, int largest,
                                float factor) {
    for_each (i, groups) {
        const size_t at = (size_t)i * GROUP;
        join_at(h + at, (size_t)groups * GROUP, out + at, winners ? winners + at : nullptr, largest,
                factor);
    }
}

// x_diff = the sum of the four directions', `groups` groups of elements each.
extern "C" __global__ void sum_directions(const float *__restrict__ x_diffs,
                                          float *__restrict__ x_diff, int groups) {
    for_each (i, groups)
        sum_at(x_diffs + (size_t)i * GROUP, (size_t)groups * GROUP, x_diff + (size_t)i * GROUP);
}

#endif
