// Losses without class labels, and the last step of all losses.
#include "losses.cuh"

// The sum over all parts, divided by `divisor`, or by how many positions count if that is 0. It is
// NaN if a label was wrong. One block.
extern "C" __global__ void loss_finish(const Tally *partials, int parts, double divisor,
                                       const float *labels, float *loss, Summary *summary) {
    Tally tally;
    for_each(i, parts) tally.merge(partials[i]);
    tally = tally.of_block();
    if (threadIdx.x > 0) return;
    if (divisor == 0) divisor = max(1, tally.counted);
    const bool wrong = tally.wrong != NO_POSITION;
    *loss = wrong ? __int_as_float(0x7fc00000) : static_cast<float>(tally.total / divisor);
    *summary = {divisor, static_cast<double>(tally.counted),
                wrong ? static_cast<double>(tally.wrong) + 1 : 0.0,
                wrong ? static_cast<double>(labels[tally.wrong]) : 0.0};
}

extern "C" __global__ void euclidean_forward(const float *a, const float *b, int count,
                                             Tally *partials) {
    tally_positions(count, partials, [=](int i, Tally &tally) {
        const float difference = a[i] - b[i];
        tally.add(difference * difference);
    });
}

// Either diff may be null.
extern "C" __global__ void euclidean_backward(const float *a, const float *b, int count,
                                              const float *top_diff, const Summary *summary,
                                              float *a_diff, float *b_diff) {
    // The divisor is twice the batch's size, and the derivative of a square has a factor 2.
    const float weight = 2 * loss_weight(top_diff, summary);
    for_each(i, count) {
        const float diff = (a[i] - b[i]) * weight;
        if (a_diff) a_diff[i] = diff;
        if (b_diff) b_diff[i] = -diff;
    }
}

extern "C" __global__ void sigmoid_cross_entropy_forward(const float *scores,
                                                         const float *targets, int count,
                                                         int ignores, int ignored,
                                                         Tally *partials) {
    tally_positions(count, partials, [=](int i, Tally &tally) {
        if (ignores && truncf(targets[i]) == ignored) return;
        const float x = scores[i];
        tally.add(log1pf(expf(-fabsf(x))) - x * (targets[i] - (x >= 0 ? 1 : 0)));
    });
}

extern "C" __global__ void sigmoid_cross_entropy_backward(const float *scores,
                                                          const float *targets, int count,
                                                          int ignores, int ignored,
                                                          const float *top_diff,
                                                          const Summary *summary, float *diff) {
    const float weight = loss_weight(top_diff, summary);
    for_each(i, count) {
        const bool counts = !(ignores && truncf(targets[i]) == ignored);
        const float x = scores[i], small = expf(-fabsf(x));
        const float sigmoid = (x < 0 ? small : 1) / (1 + small);
        diff[i] = (sigmoid - targets[i]) * (counts ? weight : 0);
    }
}

// Pairs of vectors: similar ones shall meet, others shall be `margin` apart. A block of one warp
// works on a pair.
struct Pair {
    float squared;
    bool similar;

    __device__ __forceinline__ Pair(const float *a, const float *b, float similarity, int length)
        : similar(truncf(similarity) != 0) {
        float sum = 0;
        for (int i = threadIdx.x; i < length; i += 32) sum += (a[i] - b[i]) * (a[i] - b[i]);
        squared = warp_sum(sum);
    }
    // Twice the loss.
    __device__ __forceinline__ float loss(float margin, bool legacy) const {
        if (similar) return squared;
        const float short_of = at_least(0, margin - (legacy ? squared : sqrtf(squared)));
        return legacy ? short_of : short_of * short_of;
    }
    // What a - b is multiplied by in the derivative; 1e-4 is Caffe's guard.
    __device__ __forceinline__ float slope(float margin, bool legacy) const {
        if (similar) return 1;
        if (legacy) return margin - squared > 0 ? -1 : 0;
        const float distance = sqrtf(squared);
        return -at_least(0, margin - distance) / (distance + 1e-4f);
    }
};

extern "C" __global__ void contrastive_forward(const float *a, const float *b,
                                               const float *similarity, int pairs, int length,
                                               float margin, int legacy, Tally *partials) {
    Tally tally;
    for (int n = blockIdx.x; n < pairs; n += gridDim.x) {
        const int64 start = int64(n) * length;
        const Pair pair(a + start, b + start, similarity[n], length);
        tally.add(pair.loss(margin, legacy));
    }
    if (threadIdx.x == 0) partials[blockIdx.x] = tally;
}

// Either diff may be null.
extern "C" __global__ void contrastive_backward(const float *a, const float *b,
                                                const float *similarity, int pairs, int length,
                                                float margin, int legacy, const float *top_diff,
                                                const Summary *summary, float *a_diff,
                                                float *b_diff) {
    // The divisor is twice the number of pairs, as with the Euclidean loss.
    const float weight = 2 * loss_weight(top_diff, summary);
    for (int n = blockIdx.x; n < pairs; n += gridDim.x) {
        const int64 start = int64(n) * length;
        const Pair pair(a + start, b + start, similarity[n], length);
        const float factor = pair.slope(margin, legacy) * weight;
        for (int64 i = start + threadIdx.x; i < start + length; i += 32) {
            const float diff = (a[i] - b[i]) * factor;
            if (a_diff) a_diff[i] = diff;
            if (b_diff) b_diff[i] = -diff;
        }
    }
}
