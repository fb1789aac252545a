// Dropout. No mask is kept: forward and backward draw the same numbers from the same counters.
#include "philox.cuh"
#include "vectors.cuh"

// y = x scale where the element's random word is at least `threshold`, else 0; y may be x.
extern "C" __global__ void dropout(const float *x, float *y, int count, const Draws *draws,
                                   uint32 threshold, float scale) {
    const uint64 seed = draws->seed, passes = draws->passes;
    for_vectors(count, aligned(x, y), [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        const Philox random(i / 4, passes, seed);
        auto values = load<WIDTH>(x + i);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k)
            // Multiplied, as on the CPU, so that NaN stays.
            values.at[k] *= random.word[(i + k) % 4] >= threshold ? scale : 0;
        store(y + i, values);
    });
}
