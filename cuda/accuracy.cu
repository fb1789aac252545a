// How many positions of (outer, classes, inner) have their label among the best scores.
#include "losses.cuh"

// `partials` is for all positions; loss_finish adds it up. `of_class`, if it is not null, receives
// how many positions of each class are right, and behind that how many there are.
//
// Counts of classes are integers, whose additions may come in any order. A block collects its own
// in shared memory if there is room (`in_shared`), so that fewer meet at the same address.
extern "C" __global__ void accuracy(const float *scores, LABELS, int positions, int inner,
                                    int top_k, int *of_class, int in_shared, Tally *partials) {
    DYNAMIC_SHARED(int, of_block);
    int *counts = in_shared ? of_block : of_class;
    if (in_shared)
        for (int i = threadIdx.x; i < 2 * classes; i += blockDim.x) of_block[i] = 0;
    __syncthreads();
    const Labels of = LABELS_READ;
    tally_positions(positions, partials, [=](int p, Tally &tally) {
        const int label = of.read(p);
        if (label == WRONG) tally.refuse(p);
        if (label < 0) return;
        const float *x = scores + first_class(p, classes, inner);
        const float chosen = x[int64(label) * inner];
        // The label's own score is among those that are not smaller; NaN is smaller than nothing.
        int better = -1;
#pragma unroll 4
        for (int c = 0; c < classes; ++c) better += !(x[int64(c) * inner] < chosen);
        const bool right = better < top_k;
        tally.add(right);
        if (!of_class) return;
        if (right) atomicAdd(counts + label, 1);
        atomicAdd(counts + classes + label, 1);
    });
    __syncthreads();
    if (in_shared)
        for (int i = threadIdx.x; i < 2 * classes; i += blockDim.x)
            if (of_block[i]) atomicAdd(of_class + i, of_block[i]);
}

extern "C" __global__ void accuracy_per_class(const int *of_class, int classes, float *share) {
    for_each(c, classes)
        share[c] = static_cast<double>(of_class[c]) / max(1, of_class[classes + c]);
}
