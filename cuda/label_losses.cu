// Losses of scores or probabilities and integer class labels.
//
// Arrays are (outer, classes, inner) with one label for each (outer, inner); outer * inner is
// `positions`. Where a label is to be ignored, or wrong, the gradient is 0.
#include "losses.cuh"
#include "softmax.cuh"

// Count position p, whose term is term(label), if its label counts.
template <typename Term>
__device__ __forceinline__ void tally_label(const Labels &labels, int p, Tally &tally, Term term) {
    const int label = labels.read(p);
    if (label >= 0)
        tally.add(term(label));
    else if (label == WRONG)
        tally.refuse(p);
}

// term(label, at) for every position whose label counts; class 0 of the position lies at `at`.
template <typename Term>
__device__ __forceinline__ void tally_labels(const Labels &labels, int positions, int inner,
                                             Tally *partials, Term term) {
    tally_positions(positions, partials, [&](int p, Tally &tally) {
        const int64 first = first_class(p, labels.classes, inner);
        tally_label(labels, p, tally, [&](int label) { return term(label, first); });
    });
}

// body(label, at, c) for every class of every position; element c of the position lies at `at`.
// Rows of blocks take CHUNK of the classes in turn. What the body writes must overlap nothing that
// it reads, so that several classes are read at once.
const int CHUNK = 16;

template <typename Body>
__device__ __forceinline__ void each_class(const Labels &labels, int positions, int inner,
                                           Body body) {
    for_each(p, positions) {
        const int label = labels.read(p);
        const int64 first = first_class(p, labels.classes, inner);
        for (int begin = blockIdx.y * CHUNK; begin < labels.classes; begin += gridDim.y * CHUNK) {
            const int end = min(begin + CHUNK, labels.classes);
#pragma unroll 4
            for (int c = begin; c < end; ++c) body(label, first + int64(c) * inner, c);
        }
    }
}

__device__ __forceinline__ float softmax_loss(float prob) {
    return -logf(at_least(FLOAT_MIN, prob));
}

// The probabilities, which the backward pass needs, and their loss.
extern "C" __global__ void softmax_loss_forward(const float *scores, LABELS, int positions,
                                                int inner, float *prob, Tally *partials) {
    tally_positions(positions, partials, [=](int p, Tally &tally) {
        const int64 first = first_class(p, classes, inner);
        const float *x = scores + first;
        float *y = prob + first;
        softmax_of_position(x, y, inner, classes);
        tally_label(LABELS_READ, p, tally,
                    [&](int label) { return softmax_loss(y[int64(label) * inner]); });
    });
}

// The same of rows; each block takes some, one after the other.
extern "C" __global__ void softmax_loss_rows_forward(const float *scores, LABELS, int rows,
                                                     float *prob, Tally *partials) {
    Tally tally;
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        const int64 first = int64(row) * classes;
        softmax_of_row(scores + first, prob + first, classes);
        __syncthreads();  // the row is complete
        if (threadIdx.x == 0)
            tally_label(LABELS_READ, row, tally,
                        [&](int label) { return softmax_loss(prob[first + label]); });
    }
    if (threadIdx.x == 0) partials[blockIdx.x] = tally;
}

extern "C" __global__ void softmax_loss_backward(const float *__restrict__ prob, LABELS,
                                                 int positions, int inner, const float *top_diff,
                                                 const Summary *summary,
                                                 float *__restrict__ diff) {
    const float weight = loss_weight(top_diff, summary);
    each_class(LABELS_READ, positions, inner, [=](int label, int64 at, int c) {
        diff[at] = (prob[at] - (c == label ? 1 : 0)) * (label >= 0 ? weight : 0);
    });
}

// Caffe takes no logarithm of, and divides by no, probability below this.
#define LOG_THRESHOLD 1e-20f

extern "C" __global__ void multinomial_forward(const float *prob, LABELS, int positions, int inner,
                                               Tally *partials) {
    tally_labels(LABELS_READ, positions, inner, partials, [=](int label, int64 at) {
        return -logf(at_least(LOG_THRESHOLD, prob[at + int64(label) * inner]));
    });
}

extern "C" __global__ void multinomial_backward(const float *__restrict__ prob, LABELS,
                                                int positions, int inner, const float *top_diff,
                                                const Summary *summary,
                                                float *__restrict__ diff) {
    const float weight = loss_weight(top_diff, summary);
    each_class(LABELS_READ, positions, inner, [=](int label, int64 at, int c) {
        diff[at] = c == label ? -weight / at_least(LOG_THRESHOLD, prob[at]) : 0;
    });
}

// How far a score falls short of the margin: 1 above 0 at the label, 1 below it elsewhere.
__device__ __forceinline__ float short_of_margin(float score, bool at_label) {
    return at_least(0, 1 + (at_label ? -score : score));
}

extern "C" __global__ void hinge_forward(const float *scores, LABELS, int positions, int inner,
                                         int squared, Tally *partials) {
    tally_labels(LABELS_READ, positions, inner, partials, [=](int label, int64 at) {
        float sum = 0;
        for (int c = 0; c < classes; ++c) {
            const float margin = short_of_margin(scores[at + int64(c) * inner], c == label);
            sum += squared ? margin * margin : margin;
        }
        return sum;
    });
}

extern "C" __global__ void hinge_backward(const float *__restrict__ scores, LABELS,
                                          int positions, int inner, int squared,
                                          const float *top_diff, const Summary *summary,
                                          float *__restrict__ diff) {
    const float weight = loss_weight(top_diff, summary);
    each_class(LABELS_READ, positions, inner, [=](int label, int64 at, int c) {
        const float margin = short_of_margin(scores[at], c == label);
        const float slope = squared ? 2 * margin : margin > 0 ? 1 : margin;  // NaN stays
        diff[at] = slope * (label < 0 ? 0 : c == label ? -weight : weight);
    });
}

// `matrix` (classes, classes): row i says what predicting each class is worth where i is right.
extern "C" __global__ void infogain_forward(const float *prob, LABELS, int positions, int inner,
                                            const float *matrix, Tally *partials) {
    tally_labels(LABELS_READ, positions, inner, partials, [=](int label, int64 at) {
        const float *worth = matrix + int64(label) * classes;
        float sum = 0;
        for (int c = 0; c < classes; ++c)
            sum -= worth[c] * logf(at_least(LOG_THRESHOLD, prob[at + int64(c) * inner]));
        return sum;
    });
}

extern "C" __global__ void infogain_backward(const float *__restrict__ prob, LABELS,
                                             int positions, int inner, const float *matrix,
                                             const float *row_sums, const float *top_diff,
                                             const Summary *summary,
                                             float *__restrict__ diff) {
    const float weight = loss_weight(top_diff, summary);
    each_class(LABELS_READ, positions, inner, [=](int label, int64 at, int c) {
        const float slope =
            label < 0 ? 0 : prob[at] * row_sums[label] - matrix[int64(label) * classes + c];
        diff[at] = slope * weight;
    });
}
