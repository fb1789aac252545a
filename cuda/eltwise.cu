// Eltwise: product, weighted sum and maximum of two to four arrays; those that are missing are null.
//
// More than four are combined in several launches, of which each takes the result so far as `a`.
#include "vectors.cuh"

#define INPUTS const float *a, const float *b, const float *c, const float *d
#define OUTPUTS float *to_a, float *to_b, float *to_c, float *to_d

extern "C" __global__ void eltwise_product(INPUTS, float *top, int count) {
    for_vectors(count, aligned(a, b, c, d, top), [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        const auto times = [=](const Vector<float, WIDTH> &x, const float *y) {
            return mapped<WIDTH>([](float x, float y) { return x * y; }, x, load<WIDTH>(y + i));
        };
        auto result = times(load<WIDTH>(a + i), b);
        if (c) result = times(result, c);
        if (d) result = times(result, d);
        store(top + i, result);
    });
}

extern "C" __global__ void eltwise_sum(INPUTS, float weight_a, float weight_b, float weight_c,
                                       float weight_d, float *top, int count) {
    for_vectors(count, aligned(a, b, c, d, top), [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        const auto plus = [=](const Vector<float, WIDTH> &x, float weight, const float *y) {
            return mapped<WIDTH>([=](float x, float y) { return x + weight * y; }, x,
                                 load<WIDTH>(y + i));
        };
        auto result = mapped<WIDTH>([=](float x) { return weight_a * x; }, load<WIDTH>(a + i));
        result = plus(result, weight_b, b);
        if (c) result = plus(result, weight_c, c);
        if (d) result = plus(result, weight_d, d);
        store(top + i, result);
    });
}

// The greatest so far, and whose it is.
template <int WIDTH>
struct Greatest {
    Vector<float, WIDTH> value;
    Vector<uint8, WIDTH> owner;

    // A tie goes to the earlier one, or with `ties` to x; NaN is kept.
    __device__ __forceinline__ void meet(const float *x, int index, bool ties = false) {
        const auto other = load<WIDTH>(x);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
            const float mine = value.at[k], its = other.at[k];
            if (its > mine || (ties && its == mine)) owner.at[k] = index;
            value.at[k] = mine > its || mine != mine ? mine : its;
        }
    }
};

// `index` is that of `b`: 1 in the first launch, in which a tie of the first two goes to the second.
extern "C" __global__ void eltwise_max(INPUTS, int index, float *top, uint8 *owner, int count) {
    for_vectors(count, aligned(a, b, c, d, top) && aligned(owner), [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        Greatest<WIDTH> greatest = {load<WIDTH>(a + i), {}};
        if (index > 1) greatest.owner = load<WIDTH>(owner + i);
        greatest.meet(b + i, index, index == 1);
        if (c) greatest.meet(c + i, index + 1);
        if (d) greatest.meet(d + i, index + 2);
        store(top + i, greatest.value);
        store(owner + i, greatest.owner);
    });
}

// Backward. Diffs that are not wanted are null; the first may be the top's.

extern "C" __global__ void eltwise_product_backward(const float *top_diff, INPUTS, OUTPUTS,
                                                    int count) {
    const bool vectors = aligned(top_diff, a, b, c, d) && aligned(to_a, to_b, to_c, to_d);
    for_vectors(count, vectors, [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        const float *const input[4] = {a, b, c, d};
        float *const output[4] = {to_a, to_b, to_c, to_d};
        const auto diff = load<WIDTH>(top_diff + i);
        Vector<float, WIDTH> factor[4];
#pragma unroll
        for (int k = 0; k < 4; ++k)
            if (input[k]) factor[k] = load<WIDTH>(input[k] + i);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            if (!output[k]) continue;
            auto product = diff;
#pragma unroll
            for (int other = 0; other < 4; ++other)
                if (other != k && input[other])
                    product = mapped<WIDTH>([](float x, float y) { return x * y; }, product,
                                            factor[other]);
            store(output[k] + i, product);
        }
    });
}

extern "C" __global__ void eltwise_sum_backward(const float *top_diff, float weight_a,
                                                float weight_b, float weight_c, float weight_d,
                                                OUTPUTS, int count) {
    for_vectors(count, aligned(top_diff, to_a, to_b, to_c, to_d), [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        const auto diff = load<WIDTH>(top_diff + i);
        const auto pass = [=](float weight, float *to) {
            if (to) store(to + i, mapped<WIDTH>([=](float dy) { return weight * dy; }, diff));
        };
        pass(weight_a, to_a), pass(weight_b, to_b), pass(weight_c, to_c), pass(weight_d, to_d);
    });
}

// `index` is that of the first.
extern "C" __global__ void eltwise_max_backward(const float *top_diff, const uint8 *owner,
                                                int index, OUTPUTS, int count) {
    const bool vectors = aligned(top_diff, to_a, to_b, to_c, to_d) && aligned(owner);
    for_vectors(count, vectors, [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        const auto diff = load<WIDTH>(top_diff + i);
        const auto owners = load<WIDTH>(owner + i);
        const auto pass = [=](int index, float *to) {
            const auto share = [=](float dy, uint8 owner) { return dy * (owner == index ? 1 : 0); };
            if (to) store(to + i, mapped<WIDTH>(share, diff, owners));
        };
        pass(index, to_a), pass(index + 1, to_b), pass(index + 2, to_c), pass(index + 3, to_d);
    });
}

// The gradient of a product as the product over the factor, where that is not 0.
extern "C" __global__ void eltwise_quotient(const float *top, const float *bottom,
                                            const float *top_diff, float *bottom_diff, int count) {
    map(bottom_diff, count, [](float y, float x, float dy) { return y / x * dy; }, top, bottom,
        top_diff);
}
