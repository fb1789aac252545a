// Spatial propagation with one launch for each line, as the first implementation of it worked: a
// thread takes one element of a column (a row), so that neighbouring threads read elements that are
// a whole row apart. What `benchmarks.gpu` compares with; three-way, SUM_ABS and MAX only.
//
// What was a chain of layers there (Slice, AbsVal, Eltwise, Divide, Eltwise) is one kernel here, on
// each side of the scans: `normalise` and `normalise_backward`.
#include "common.cuh"

constexpr int DIRECTIONS = 4, GATES = 3;
constexpr float FLOOR = 1e-6f;

// A line of a map in one of four directions: as in recurrence.cuh.
struct Line {
    int H, W, direction, t;

    __device__ __forceinline__ bool horizontal() const { return direction < 2; }
    __device__ __forceinline__ int length() const { return horizontal() ? H : W; }
    __device__ __forceinline__ int steps() const { return horizontal() ? W : H; }
    // From an element to its neighbours within the line, and to the one in the line before.
    __device__ __forceinline__ int beside() const { return horizontal() ? W : 1; }
    __device__ __forceinline__ int back() const {
        const int step = horizontal() ? 1 : W;
        return direction % 2 ? step : -step;
    }
    __device__ __forceinline__ size_t at(int map, int k) const {
        const int position = direction % 2 ? steps() - 1 - t : t;
        return (size_t)map * H * W + (horizontal() ? k * W + position : position * W + k);
    }
};

// Line t of h, from line t - 1. All arrays are (maps, H, W).
extern "C" __global__ void line_forward(const float *x, const float *g1, const float *g2,
                                        const float *g3, float *h, int maps, int H, int W,
                                        int direction, int t) {
    const Line line = {H, W, direction, t};
    const int K = line.length();
    for_each (i, maps * K) {
        const int k = i % K;
        const size_t at = line.at(i / K, k), before = at + line.back();
        const float value = x[at];
        float hidden = value;
        if (t > 0) {
            hidden += g2[at] * (h[before] - value);
            if (k > 0) hidden += g1[at] * (h[before - line.beside()] - value);
            if (k + 1 < K) hidden += g3[at] * (h[before + line.beside()] - value);
        }
        h[at] = hidden;
    }
}

// Line t of the derivatives, from line t + 1. On entry h_diff is that of the result; on return that
// of the hidden values, which line t - 1 reads.
extern "C" __global__ void line_backward(const float *x, const float *g1, const float *g2,
                                         const float *g3, const float *h, float *h_diff,
                                         float *x_diff, float *d1, float *d2, float *d3, int maps,
                                         int H, int W, int direction, int t) {
    const Line line = {H, W, direction, t};
    const int K = line.length();
    for_each (i, maps * K) {
        const int k = i % K, beside = line.beside();
        const size_t at = line.at(i / K, k), before = at + line.back(), after = at - line.back();
        float u = h_diff[at];
        if (t + 1 < line.steps()) {
            u += g2[after] * h_diff[after];
            if (k + 1 < K) u += g1[after + beside] * h_diff[after + beside];
            if (k > 0) u += g3[after - beside] * h_diff[after - beside];
        }
        const float value = x[at];
        const bool first = t == 0, above = !first && k > 0, below = !first && k + 1 < K;
        h_diff[at] = u;
        d1[at] = above ? u * (h[before - beside] - value) : 0.f;
        d2[at] = first ? 0.f : u * (h[before] - value);
        d3[at] = below ? u * (h[before + beside] - value) : 0.f;
        x_diff[at] = u * (1.f - (above ? g1[at] : 0.f) - (first ? 0.f : g2[at]) -
                          (below ? g3[at] : 0.f));
    }
}

// gates (4, 3, N, C, H, W) = those of guidance (N, 4 x 3 C, H, W), divided by the sum of the three
// absolute values. `row` is C H W, `count` N C H W.
extern "C" __global__ void normalise(const float *guidance, float *gates, int count, int row) {
    for (int d = 0; d < DIRECTIONS; ++d)
        for_each (i, count) {
            const float *g = guidance + ((size_t)(i / row) * DIRECTIONS + d) * GATES * row + i % row;
            float *to = gates + (size_t)d * GATES * count + i;
            const float a = g[0], b = g[row], c = g[2 * (size_t)row];
            const float scale = 1.f / max(fabsf(a) + fabsf(b) + fabsf(c), FLOOR);
            to[0] = a * scale;
            to[count] = b * scale;
            to[2 * (size_t)count] = c * scale;
        }
}

// The derivatives by guidance, from those by `gates`.
extern "C" __global__ void normalise_backward(const float *guidance, const float *gate_diffs,
                                              float *guidance_diff, int count, int row) {
    for (int d = 0; d < DIRECTIONS; ++d)
        for_each (i, count) {
            const size_t at = ((size_t)(i / row) * DIRECTIONS + d) * GATES * row + i % row;
            const float *diff = gate_diffs + (size_t)d * GATES * count + i;
            float g[GATES], u[GATES], sum = 0.f, dot = 0.f;
            for (int j = 0; j < GATES; ++j) {
                g[j] = guidance[at + (size_t)j * row];
                u[j] = diff[(size_t)j * count];
                sum += fabsf(g[j]);
                dot += g[j] * u[j];
            }
            const float scale = 1.f / max(sum, FLOOR);
            const float shared = sum > FLOOR ? dot * scale * scale : 0.f;
            for (int j = 0; j < GATES; ++j)
                guidance_diff[at + (size_t)j * row] =
                    u[j] * scale - (g[j] > 0.f ? shared : g[j] < 0.f ? -shared : 0.f);
        }
}

// out = the largest of h (4, count), and which it was.
extern "C" __global__ void largest(const float *h, float *out, unsigned char *winners, int count) {
    for_each (i, count) {
        float best = h[i];
        int winner = 0;
        for (int d = 1; d < DIRECTIONS; ++d) {
            const float value = h[(size_t)d * count + i];
            if (value > best) {
                best = value;
                winner = d;
            }
        }
        out[i] = best;
        winners[i] = winner;
    }
}

// h_diffs (4, count): each direction's share of out_diff.
extern "C" __global__ void largest_backward(const float *out_diff, const unsigned char *winners,
                                            float *h_diffs, int count) {
    for_each (i, count)
        for (int d = 0; d < DIRECTIONS; ++d)
            h_diffs[(size_t)d * count + i] = winners[i] == d ? out_diff[i] : 0.f;
}

// x_diff = the sum of x_diffs (4, count).
extern "C" __global__ void sum_directions(const float *x_diffs, float *x_diff, int count) {
    for_each (i, count) {
        float sum = x_diffs[i];
        for (int d = 1; d < DIRECTIONS; ++d) sum += x_diffs[(size_t)d * count + i];
        x_diff[i] = sum;
    }
}
