// What the recurrence's kernels share: lines of a map, their loads and stores, gates.
//
// A map is scanned in one of four directions: 0 left-right, 1 right-left, 2 top-bottom, 3
// bottom-top. Step t of a scan handles one line: a column in the horizontal directions, a row in
// the others; k counts the elements of a line. A thread keeps R neighbouring elements of the line
// and handles S steps with one round of loads, so that reads are as wide as the memory likes:
// horizontally S columns of a row, vertically R elements of a row.
//
// The direction is a template parameter everywhere, because it decides which register holds what.
#pragma once
#include "vectors.cuh"

#ifndef GATES
#define GATES 3  // 3: three-way, 1: one-way
#endif
#ifndef ELEMENTS
#define ELEMENTS 4
#endif
#ifndef STEPS
#define STEPS 4
#endif
#ifndef THREADS
#define THREADS 256  // the most that scan one line
#endif
#ifndef NORMALISED
#define NORMALISED 1  // 0: gates are taken as they are
#endif
#ifndef ALIGNED
#define ALIGNED 1  // W and all addresses are multiples of four elements
#endif

constexpr int G = GATES;
constexpr int R = ELEMENTS;
// Values that are read one at a time take more registers for their addresses.
constexpr int S = ALIGNED || STEPS == 2 ? STEPS : STEPS / 2;
constexpr int WARPS = THREADS / 32;

template <int D>
struct Direction {
    static constexpr int index = D;
};

// f(Direction<d>()): the four directions become four pieces of code.
template <class F>
__device__ __forceinline__ void with_direction(int d, F f) {
    switch (d) {
        case 0:
            f(Direction<0>());
            break;
        case 1:
            f(Direction<1>());
            break;
        case 2:
            f(Direction<2>());
            break;
        default:
            f(Direction<3>());
    }
}

template <int D>
struct Scan {
    static constexpr bool horizontal = D < 2, reverse = D % 2 == 1;
    int H, W;

    __device__ __forceinline__ int steps() const { return horizontal ? W : H; }
    __device__ __forceinline__ int length() const { return horizontal ? H : W; }
    // Where the first of `count` steps that begin with step t lies, counted from the map's edge.
    __device__ __forceinline__ int position(int t, int count = 1) const {
        return reverse ? steps() - t - count : t;
    }
    __device__ __forceinline__ int at(int t, int k) const {
        return horizontal ? k * W + position(t) : position(t) * W + k;
    }
};

// How many values one access moves. With ALIGNED, W is a multiple of 4 and so are all addresses'
// elements: such a group lies in the map as a whole, or not at all.
template <int D>
constexpr int WIDTH = !ALIGNED               ? 1
                      : !Scan<D>::horizontal ? R
                      : S < 4                ? S
                                             : 4;

// f(s, r, offset) for the groups of `WIDTH<D>` values, along s horizontally, along r vertically, of
// the steps from t and the elements from k on: where group (s, r) lies in a map of rows `pitch`
// apart, -1 if outside.
template <int D, class F>
__device__ __forceinline__ void for_groups(const Scan<D> &scan, int pitch, int t, int k, F f) {
    constexpr int V = WIDTH<D>;
    constexpr bool H = Scan<D>::horizontal;
#pragma unroll
    for (int s = 0; s < S; s += H ? V : 1)
#pragma unroll
        for (int r = 0; r < R; r += H ? 1 : V) {
            const bool inside = t + s < scan.steps() && k + r < scan.length();
            const int line = scan.position(t + s, H ? V : 1), element = k + r;
            f(s, r, !inside ? -1 : H ? element * pitch + line : line * pitch + element);
        }
}

// The value of group (s, r) that lies `j` after its first.
template <int D, class T>
__device__ __forceinline__ T &in_group(T (&values)[S][R], int s, int r, int j) {
    if (!Scan<D>::horizontal) return values[s][r + j];
    return values[s + (Scan<D>::reverse ? WIDTH<D> - 1 - j : j)][r];
}

// values[s][r] = element k + r of the line of step t + s; 0 where the map has none.
template <int D, class T>
__device__ __forceinline__ void load_steps(T (&values)[S][R], const T *__restrict__ map,
                                           const Scan<D> &scan, int t, int k) {
    constexpr int V = WIDTH<D>;
    for_groups(scan, scan.W, t, k, [&](int s, int r, int offset) {
        Vector<T, V> group = {};
        if (offset >= 0) group = load<V>(map + offset);
#pragma unroll
        for (int j = 0; j < V; ++j) in_group<D>(values, s, r, j) = group.at[j];
    });
}

// The reverse of load_steps, into a map whose rows are `pitch` apart; `add` adds to what is there.
template <int D>
__device__ __forceinline__ void store_steps(float *map, int pitch, float (&values)[S][R],
                                            const Scan<D> &scan, int t, int k, bool add = false) {
    constexpr int V = WIDTH<D>;
    for_groups(scan, pitch, t, k, [&](int s, int r, int offset) {
        if (offset < 0) return;
        Vector<float, V> group = {};
        if (add) group = load<V>(map + offset);
#pragma unroll
        for (int j = 0; j < V; ++j) group.at[j] += in_group<D>(values, s, r, j);
        store(map + offset, group);
    });
}

// Gates g become r g with r = 1 / max(weight s, floor), s the sum of their absolute values.
struct Rule {
    float weight, floor;
};

// r, and whether it depends on the gates.
__device__ __forceinline__ float normaliser(const float (&g)[G], const Rule &rule, bool &depends) {
    depends = false;
    if (!NORMALISED) return 1.f;
    float sum = fabsf(g[0]);
#pragma unroll
    for (int i = 1; i < G; ++i) sum += fabsf(g[i]);
    sum *= rule.weight;
    depends = !(sum <= rule.floor);
    return __fdividef(1.f, fmaxf(sum, rule.floor));
}

// The derivative by gate `i`: `by_product` is that by r g_i, times r; `shared` what r sends back to
// every gate. Of a single gate, r makes a sign, which has none.
__device__ __forceinline__ float by_gate(float gate, float by_product, float shared, bool depends) {
    if (G == 1) return depends ? 0.f : by_product;
    return by_product - (gate > 0.f ? shared : gate < 0.f ? -shared : 0.f);
}

// What a direction sees of the joined result's derivative: all of it times `factor`, or, where the
// largest direction was taken, all of it where that was this one.
struct OutDiff {
    const float *__restrict__ diff;
    const unsigned char *__restrict__ winners;  // may be null
    float factor;
};
