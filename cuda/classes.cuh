// Arrays (outer, classes, inner), and labels for their positions, outer * inner of them.
#pragma once
#include "common.cuh"

// Where class 0 of a position lies; its classes are `inner` apart.
__device__ __forceinline__ int64 first_class(int position, int classes, int inner) {
    const int n = position / inner;
    return int64(n) * classes * inner + (position - n * inner);
}

const int IGNORED = -1, WRONG = -2;

// Labels are floats whose fractions are cut off. Comparing before the conversion keeps NaN, and
// what no int can hold, out of it.
struct Labels {
    const float *values;
    int classes, ignores, ignored;

    // The class at a position, or IGNORED, or WRONG: no class, and not to be used as an index.
    __device__ __forceinline__ int read(int position) const {
        const float whole = truncf(values[position]);
        if (ignores && whole == ignored) return IGNORED;
        return whole >= 0 && whole < classes ? static_cast<int>(whole) : WRONG;
    }
};

#define LABELS const float *labels, int classes, int ignores, int ignored
#define LABELS_READ Labels{labels, classes, ignores, ignored}
