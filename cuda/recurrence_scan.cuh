// One direction of the recurrence over one map, for lines of up to THREADS * R elements.
//
//   h[k,t] = x[k,t] + r (g1 (h[k-1,t-1] - x[k,t]) + g2 (h[k,t-1] - x[k,t]) + g3 (h[k+1,t-1] -
//   x[k,t]))
//
// A neighbour outside the map has the value x[k,t]: its gate has no effect. The hidden values of a
// line stay in registers; those of other threads come by shuffles, and from other warps through
// shared memory.
#pragma once
#include "recurrence.cuh"

// scan_backward needs no work space.
constexpr int LINE_FLOATS = 0;

// The first and the last element of each warp's part of a line.
struct Edges {
    float first[WARPS], last[WARPS];
};

__device__ __forceinline__ void block_barrier() {
    if (WARPS > 1) __syncthreads();
}

__device__ __forceinline__ void publish(Edges &edges, float first, float last) {
    if (WARPS == 1) return;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (lane == 0) edges.first[warp] = first;
    if (lane == 31) edges.last[warp] = last;
}

// up: the last element of the thread before; down: the first of the thread after. Published values
// must have passed a barrier. At the ends of the line they mean nothing.
__device__ __forceinline__ void neighbours(const Edges &edges, float first, float last, float &up,
                                           float &down) {
    up = __shfl_up_sync(ALL_LANES, last, 1);
    down = __shfl_down_sync(ALL_LANES, first, 1);
    if (WARPS == 1) return;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    if (lane == 0 && warp > 0) up = edges.last[warp - 1];
    if (lane == 31 && warp + 1 < warps) down = edges.first[warp + 1];
}

// differences[i] = neighbour i of element k - value, 0 outside the map.
__device__ __forceinline__ void differences(float (&steps)[G], float up, float middle, float down,
                                            float value, int k, int K) {
    if constexpr (G == 3) {
        steps[0] = k == 0 ? 0.f : up - value;
        steps[1] = middle - value;
        steps[2] = k + 1 >= K ? 0.f : down - value;
    } else {
        steps[0] = middle - value;
    }
}

// h = scan of x; rows of h are `pitch` apart.
template <int D>
__device__ __forceinline__ void scan_forward(const Scan<D> &scan, const Rule &rule,
                                             const float *__restrict__ x,
                                             const float *const (&gates)[G], float *h, int pitch) {
    __shared__ Edges edges[2];  // taking turns, one barrier for each step is enough
    const int k = threadIdx.x * R, K = scan.length();
    float before[R] = {};
    float next_x[S][R], next_g[G][S][R];
    load_steps(next_x, x, scan, 0, k);
#pragma unroll
    for (int i = 0; i < G; ++i) load_steps(next_g[i], gates[i], scan, 0, k);
    for (int t = 0; t < scan.steps(); t += S) {
        float values[S][R], g[G][S][R];
#pragma unroll
        for (int s = 0; s < S; ++s)
#pragma unroll
            for (int r = 0; r < R; ++r) {
                values[s][r] = next_x[s][r];
#pragma unroll
                for (int i = 0; i < G; ++i) g[i][s][r] = next_g[i][s][r];
            }
        // The next loads are on their way while this round is computed.
        if (t + S < scan.steps()) {
            load_steps(next_x, x, scan, t + S, k);
#pragma unroll
            for (int i = 0; i < G; ++i) load_steps(next_g[i], gates[i], scan, t + S, k);
        }
#pragma unroll
        for (int s = 0; s < S; ++s) {
            float up = 0.f, down = 0.f;
            if (G == 3) {
                publish(edges[s % 2], before[0], before[R - 1]);
                block_barrier();
                neighbours(edges[s % 2], before[0], before[R - 1], up, down);
            }
            float line[R];
#pragma unroll
            for (int r = 0; r < R; ++r) {
                const float value = values[s][r];
                float gate[G], change[G];
#pragma unroll
                for (int i = 0; i < G; ++i) gate[i] = g[i][s][r];
                bool depends;
                const float scale = normaliser(gate, rule, depends);
                differences(change, r == 0 ? up : before[r == 0 ? 0 : r - 1], before[r],
                            r == R - 1 ? down : before[r == R - 1 ? r : r + 1], value, k + r, K);
                // The neighbours that come from other threads, and late, are used last.
                float hidden = value + scale * gate[G / 2] * change[G / 2];
                if constexpr (G == 3) {
                    hidden += scale * gate[0] * change[0];
                    hidden += scale * gate[2] * change[2];
                }
                line[r] = t + s == 0 ? value : hidden;
            }
#pragma unroll
            for (int r = 0; r < R; ++r) values[s][r] = before[r] = line[r];
        }
        store_steps(h, pitch, values, scan, t, k);
    }
}

// The derivatives by x (rows `pitch` apart) and by the gates, from those of the joined result; `h`
// is what scan_forward made. With `add`, those by the gates are added to what is there.
template <int D>
__device__ __forceinline__ void scan_backward(const Scan<D> &scan, const Rule &rule,
                                              const float *__restrict__ x,
                                              const float *const (&gates)[G],
                                              const float *__restrict__ h, const OutDiff &out,
                                              float *x_diff, int pitch,
                                              float *const (&gate_diffs)[G], bool add, float *) {
    __shared__ Edges hidden[S], sent[2];
    const int k = threadIdx.x * R, K = scan.length();
    float carry[R] = {};  // what the line after this one sends back
    for (int t = (scan.steps() - 1) / S * S; t >= 0; t -= S) {
        float here[S][R], earlier[R], values[S][R], g[G][S][R], diff[S][R];
        load_steps(here, h, scan, t, k);
#pragma unroll
        for (int r = 0; r < R; ++r)
            earlier[r] = t > 0 && k + r < K ? h[scan.at(t - 1, k + r)] : 0.f;
        load_steps(values, x, scan, t, k);
        load_steps(diff, out.diff, scan, t, k);
#pragma unroll
        for (int i = 0; i < G; ++i) load_steps(g[i], gates[i], scan, t, k);
        if (out.winners) {
            unsigned char winners[S][R];
            load_steps(winners, out.winners, scan, t, k);
#pragma unroll
            for (int s = 0; s < S; ++s)
#pragma unroll
                for (int r = 0; r < R; ++r) diff[s][r] = winners[s][r] == D ? diff[s][r] : 0.f;
        } else {
#pragma unroll
            for (int s = 0; s < S; ++s)
#pragma unroll
                for (int r = 0; r < R; ++r) diff[s][r] *= out.factor;
        }
        if (G == 3) {
#pragma unroll
            for (int s = 0; s < S; ++s) {
                const float (&before)[R] = s > 0 ? here[s > 0 ? s - 1 : 0] : earlier;
                publish(hidden[s], before[0], before[R - 1]);
            }
            block_barrier();
        }
#pragma unroll
        for (int s = S - 1; s >= 0; --s) {
            const float (&before)[R] = s > 0 ? here[s > 0 ? s - 1 : 0] : earlier;
            const bool first = t + s == 0;
            float up = 0.f, down = 0.f, send[G][R];
            if (G == 3) neighbours(hidden[s], before[0], before[R - 1], up, down);
#pragma unroll
            for (int r = 0; r < R; ++r) {
                float gate[G], change[G];
#pragma unroll
                for (int i = 0; i < G; ++i) gate[i] = g[i][s][r];
                bool depends;
                const float scale = normaliser(gate, rule, depends);
                differences(change, r == 0 ? up : before[r == 0 ? 0 : r - 1], before[r],
                            r == R - 1 ? down : before[r == R - 1 ? r : r + 1], values[s][r], k + r,
                            K);
                const float u = diff[s][r] + carry[r], scaled = u * scale;
                float dot = 0.f, kept = u;
#pragma unroll
                for (int i = 0; i < G; ++i) dot += gate[i] * change[i];
                const float shared = depends ? scale * scaled * dot : 0.f;
#pragma unroll
                for (int i = 0; i < G; ++i) {
                    const bool outside =
                        first || (G == 3 && ((i == 0 && k + r == 0) || (i == 2 && k + r + 1 >= K)));
                    send[i][r] = outside ? 0.f : gate[i] * scaled;
                    kept -= send[i][r];
                    g[i][s][r] =
                        first ? 0.f : by_gate(gate[i], scaled * change[i], shared, depends);
                }
                values[s][r] = kept;
            }
            // Gate 1 sends to the element before its own in the earlier line, gate 3 to the one
            // after.
            if constexpr (G == 3) {
                float from_up, from_down;
                publish(sent[s % 2], send[0][0], send[2][R - 1]);
                block_barrier();
                neighbours(sent[s % 2], send[0][0], send[2][R - 1], from_up, from_down);
#pragma unroll
                for (int r = 0; r < R; ++r) {
                    const float above = k + r == 0 ? 0.f
                                        : r == 0   ? from_up
                                                   : send[2][r == 0 ? 0 : r - 1];
                    const float below = k + r + 1 >= K ? 0.f
                                        : r == R - 1   ? from_down
                                                       : send[0][r == R - 1 ? r : r + 1];
                    carry[r] = send[1][r] + below + above;
                }
            } else {
#pragma unroll
                for (int r = 0; r < R; ++r) carry[r] = send[0][r];
            }
        }
#pragma unroll
        for (int i = 0; i < G; ++i) store_steps(gate_diffs[i], scan.W, g[i], scan, t, k, add);
        store_steps(x_diff, pitch, values, scan, t, k);
    }
}
