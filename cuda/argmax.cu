// The indices of the largest elements along the middle axis of arrays (outer, classes, inner).
//
// An element and its index together make one 64-bit number, so that the largest of these is the
// largest element, and of equal ones that with the highest index, as in Caffe. The next largest is
// the largest number below the one found last.
#include "classes.cuh"

struct Largest {
    const float *bottom;
    int classes, inner, top_k;
    // Where results go; either may be null. Neighbouring examples are `outer_step` apart, and
    // neighbouring ranks `rank_step`.
    float *indices, *values;
    int outer_step, rank_step;

    // NaN is larger than any number if one element is asked for, otherwise smaller: as on the CPU.
    __device__ __forceinline__ uint64 key(float x, int index) const {
        const int32 bits = __float_as_int(x + 0.0f);  // -0 is 0
        uint32 order = bits < 0 ? ~bits : bits | 0x80000000u;
        if (x != x) order = top_k == 1 ? 0xffffffffu : 0;
        return static_cast<uint64>(order) << 32 | static_cast<uint32>(index);
    }
    // The largest key below `bound` among every `step`th element from `first` on.
    __device__ __forceinline__ uint64 below(uint64 bound, const float *x, int first,
                                            int step) const {
        uint64 best = 0;
#pragma unroll 4
        for (int64 c = first; c < classes; c += step) {
            const uint64 candidate = key(x[c * inner], static_cast<int>(c));
            if (candidate < bound && candidate > best) best = candidate;
        }
        return best;
    }
    __device__ __forceinline__ void put(int position, int rank, const float *x,
                                        uint64 found) const {
        const int index = static_cast<int>(static_cast<uint32>(found));
        const int n = position / inner;
        const int64 at = int64(n) * outer_step + int64(rank) * rank_step + (position - n * inner);
        if (indices) indices[at] = index;
        if (values) values[at] = x[int64(index) * inner];
    }
};

#define LARGEST                                                                               \
    const float *bottom, int positions, int classes, int inner, int top_k, float *indices,   \
        float *values, int outer_step, int rank_step
#define LARGEST_READ \
    Largest{bottom, classes, inner, top_k, indices, values, outer_step, rank_step}

const uint64 NO_BOUND = ~static_cast<uint64>(0);

// A thread for each position.
extern "C" __global__ void argmax(LARGEST) {
    const Largest largest = LARGEST_READ;
    for_each(p, positions) {
        const float *x = bottom + first_class(p, classes, inner);
        uint64 found = NO_BOUND;
        for (int rank = 0; rank < top_k; ++rank) {
            found = largest.below(found, x, 0, 1);
            largest.put(p, rank, x, found);
        }
    }
}

// A block for each position, for few positions of many classes.
extern "C" __global__ void argmax_wide(LARGEST) {
    const Largest largest = LARGEST_READ;
    const int p = blockIdx.x;
    const float *x = bottom + first_class(p, classes, inner);
    uint64 found = NO_BOUND;
    for (int rank = 0; rank < top_k; ++rank) {
        found = block_max(largest.below(found, x, threadIdx.x, blockDim.x));
        if (threadIdx.x == 0) largest.put(p, rank, x, found);
    }
}
