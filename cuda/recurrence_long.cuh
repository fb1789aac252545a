// One direction of the recurrence for lines of any length: the twin of recurrence_scan.cuh that
// keeps its lines in memory, where a block's threads stride over them. Slower: it waits for memory
// at every step.
#pragma once
#include "recurrence.cuh"

// Floats of work space that scan_backward needs for each element of a line.
constexpr int LINE_FLOATS = 2 * G;

__device__ __forceinline__ void read(float (&g)[G], const float *const (&gates)[G], int at) {
#pragma unroll
    for (int i = 0; i < G; ++i) g[i] = gates[i][at];
}

// differences[i] = neighbour i in the earlier line of h - value, 0 outside the map.
template <int D>
__device__ __forceinline__ void differences(float (&change)[G], const Scan<D> &scan, const float *h,
                                            float value, int t, int k) {
    if constexpr (G == 3) {
        change[0] = k == 0 ? 0.f : h[scan.at(t - 1, k - 1)] - value;
        change[2] = k + 1 >= scan.length() ? 0.f : h[scan.at(t - 1, k + 1)] - value;
    }
    change[G / 2] = h[scan.at(t - 1, k)] - value;
}

// h = scan of x; `h` is read again by other threads than those that wrote it.
template <int D>
__device__ __forceinline__ void scan_forward(const Scan<D> &scan, const Rule &rule,
                                             const float *__restrict__ x,
                                             const float *const (&gates)[G], float *h, int) {
    for (int t = 0; t < scan.steps(); ++t) {
        for (int k = threadIdx.x; k < scan.length(); k += blockDim.x) {
            const int at = scan.at(t, k);
            float value = x[at];
            if (t > 0) {
                float g[G], change[G];
                bool depends;
                read(g, gates, at);
                differences(change, scan, h, value, t, k);
                const float scale = normaliser(g, rule, depends);
#pragma unroll
                for (int i = 0; i < G; ++i) value += scale * g[i] * change[i];
            }
            h[at] = value;
        }
        __syncthreads();
    }
}

// As in recurrence_scan.cuh; `lines` has LINE_FLOATS for each element of a line.
template <int D>
__device__ __forceinline__ void scan_backward(const Scan<D> &scan, const Rule &rule,
                                              const float *__restrict__ x,
                                              const float *const (&gates)[G],
                                              const float *__restrict__ h, const OutDiff &out,
                                              float *x_diff, int, float *const (&gate_diffs)[G],
                                              bool add, float *lines) {
    const int T = scan.steps(), K = scan.length();
    for (int t = T - 1; t >= 0; --t) {
        // What this line sends back, and what the line after it sent, take turns in `lines`.
        float *send = lines + t % 2 * G * K;
        const float *sent = lines + (1 - t % 2) * G * K;
        for (int k = threadIdx.x; k < K; k += blockDim.x) {
            const int at = scan.at(t, k);
            float u = out.winners ? (out.winners[at] == D ? out.diff[at] : 0.f)
                                  : out.diff[at] * out.factor;
            if (t + 1 < T) {
                u += sent[G / 2 * K + k];
                if constexpr (G == 3) {
                    if (k + 1 < K) u += sent[k + 1];
                    if (k > 0) u += sent[2 * K + k - 1];
                }
            }
            float kept = u, diffs[G] = {};
            if (t > 0) {
                float g[G], change[G], dot = 0.f;
                bool depends;
                read(g, gates, at);
                differences(change, scan, h, x[at], t, k);
                const float scale = normaliser(g, rule, depends), scaled = u * scale;
#pragma unroll
                for (int i = 0; i < G; ++i) dot += g[i] * change[i];
                const float shared = depends ? scale * scaled * dot : 0.f;
#pragma unroll
                for (int i = 0; i < G; ++i) {
                    const bool outside = G == 3 && ((i == 0 && k == 0) || (i == 2 && k + 1 >= K));
                    const float passed = outside ? 0.f : g[i] * scaled;
                    diffs[i] = by_gate(g[i], scaled * change[i], shared, depends);
                    send[i * K + k] = passed;
                    kept -= passed;
                }
            }
#pragma unroll
            for (int i = 0; i < G; ++i)
                gate_diffs[i][at] = diffs[i] + (add ? gate_diffs[i][at] : 0.f);
            x_diff[at] = kept;
        }
        __syncthreads();
    }
}
