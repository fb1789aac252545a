// Updates of all parameters in one launch: clipped, averaged, regularised, and a step of each solver.
//
// Formulas: caffe_spn/update_rules.py.
#include "vectors.cuh"

// A parameter, as the table in device memory has it. A rule that keeps no second history has null.
struct Parameter {
    float *data, *diff, *history, *history2;
    int count;
    float lr_mult, decay_mult;
    int unused;
};

// What a block takes: elements of a parameter from `start` on, at most `CHUNK`.
struct Chunk {
    int parameter, start;
};

const int CHUNK = 4096;

// What clipping found: by how much gradients are multiplied, and their norm.
struct Clip {
    float scale, norm;
};

// The sum of the squares of the diffs of each chunk.
extern "C" __global__ void sum_squares(const Parameter *parameters, const Chunk *chunks,
                                       float *sums) {
    const Chunk chunk = chunks[blockIdx.x];
    const Parameter &parameter = parameters[chunk.parameter];
    const float *diff = parameter.diff + chunk.start;
    float sum = 0;
    for_vectors_in_block(min(CHUNK, parameter.count - chunk.start), aligned(diff),
                         [&](auto width, int i) {
                             constexpr int WIDTH = decltype(width)::value;
                             const auto values = load<WIDTH>(diff + i);
#pragma unroll
                             for (int k = 0; k < WIDTH; ++k) sum += values.at[k] * values.at[k];
                         });
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// One block: the norm of all gradients, and the scale that brings it to the limit.
extern "C" __global__ void find_clip(const float *sums, int count, float limit, Clip *clip) {
    double sum = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) sum += sums[i];
    sum = block_sum(sum);
    if (threadIdx.x > 0) return;
    const float norm = static_cast<float>(sqrt(sum));
    clip->scale = norm > limit ? limit / norm : 1;
    clip->norm = norm;
}

extern "C" __global__ void zero_diffs(const Parameter *parameters, const Chunk *chunks) {
    const Chunk chunk = chunks[blockIdx.x];
    const Parameter &parameter = parameters[chunk.parameter];
    float *diff = parameter.diff + chunk.start;
    for_vectors_in_block(min(CHUNK, parameter.count - chunk.start), aligned(diff),
                         [=](auto width, int i) {
                             store(diff + i, Vector<float, decltype(width)::value>{});
                         });
}

// What each kernel below takes first. `clip` is null where nothing is clipped; `scale` is 1 /
// iter_size; L1 regularises by the sign of a weight, else it is by the weight itself (L2).
#define UPDATE                                                                                 \
    const Parameter *parameters, const Chunk *chunks, const Clip *clip, float rate, float scale, \
        float weight_decay, int l1

// step = rule(gradient, rate, history, history2) for each element: it is subtracted from the data
// and left in the diff.
template <bool TWO_HISTORIES, typename Rule>
__device__ __forceinline__ void update(UPDATE, Rule rule) {
    const Chunk chunk = chunks[blockIdx.x];
    const Parameter parameter = parameters[chunk.parameter];
    float *data = parameter.data + chunk.start, *diff = parameter.diff + chunk.start;
    float *history = parameter.history + chunk.start;
    float *history2 = TWO_HISTORIES ? parameter.history2 + chunk.start : nullptr;
    if (clip) scale *= clip->scale;
    rate *= parameter.lr_mult;
    const float decay = weight_decay * parameter.decay_mult;

    const auto body = [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        auto weight = load<WIDTH>(data + i), gradient = load<WIDTH>(diff + i);
        Vector<float, WIDTH> first = load<WIDTH>(history + i), second = {};
        if (TWO_HISTORIES) second = load<WIDTH>(history2 + i);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
            const float w = weight.at[k];
            float g = gradient.at[k] * scale;
            if (decay != 0) g += decay * (!l1 ? w : w > 0 ? 1 : w < 0 ? -1 : w);
            gradient.at[k] = rule(g, rate, first.at[k], second.at[k]);
            weight.at[k] = w - gradient.at[k];
        }
        store(data + i, weight);
        store(diff + i, gradient);
        store(history + i, first);
        if (TWO_HISTORIES) store(history2 + i, second);
    };
    for_vectors_in_block(min(CHUNK, parameter.count - chunk.start),
                         aligned(data, diff, history, history2), body);
}

#define ONE_HISTORY(RULE)                                                     \
    update<false>(parameters, chunks, clip, rate, scale, weight_decay, l1, \
                  [=](float g, float rate, float &history, float &) { RULE; })

#define TWO_HISTORIES(RULE)                                                  \
    update<true>(parameters, chunks, clip, rate, scale, weight_decay, l1, \
                 [=](float g, float rate, float &history, float &history2) { RULE; })

__device__ __forceinline__ void average_square(float &average, float value, float decay) {
    average = decay * average + (1 - decay) * (value * value);
}

extern "C" __global__ void sgd(UPDATE, float momentum) {
    ONE_HISTORY(return history = momentum * history + rate * g);
}

extern "C" __global__ void nesterov(UPDATE, float momentum) {
    ONE_HISTORY({
        const float before = history;
        history = momentum * history + rate * g;
        return (1 + momentum) * history - momentum * before;
    });
}

extern "C" __global__ void adagrad(UPDATE, float delta) {
    ONE_HISTORY({
        history += g * g;
        return rate * (g / (sqrtf(history) + delta));
    });
}

extern "C" __global__ void rmsprop(UPDATE, float decay, float delta) {
    ONE_HISTORY({
        average_square(history, g, decay);
        return rate * (g / (sqrtf(history) + delta));
    });
}

extern "C" __global__ void adadelta(UPDATE, float momentum, float delta) {
    TWO_HISTORIES({
        average_square(history, g, momentum);
        const float step = g * sqrtf((history2 + delta) / (history + delta));
        average_square(history2, step, momentum);
        return rate * step;
    });
}

// The rate includes the correction of the means' start.
extern "C" __global__ void adam(UPDATE, float beta1, float beta2, float delta) {
    TWO_HISTORIES({
        average_square(history2, g, beta2);
        history = beta1 * history + (1 - beta1) * g;
        return rate * (history / (sqrtf(history2) + delta));
    });
}
