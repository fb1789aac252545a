// Pooling of maps (planes, H, W) without negative values: a random pixel of each window, or the
// expectation of that. The gradient is that of the largest pixel, with another mask.
#include "philox.cuh"
#include "pooling.cuh"

// body(pixel, offset) for the pixels of window (r, q), row by row, until it returns false.
template <typename Body>
__device__ __forceinline__ void each_pixel(const float *map, const Axis &rows, const Axis &columns,
                                           int r, int q, Body body) {
    const int bottom = rows.end(r), right = columns.end(q);
    for (int h = rows.begin(r); h < bottom; ++h)
        for (int w = columns.begin(q); w < right; ++w)
            if (!body(map[h * columns.size + w], window_offset(rows, columns, r, q, h, w))) return;
}

// top = a pixel drawn with a probability proportional to its value; a window without pixels
// gives 0.
extern "C" __global__ void stochastic_train(const float *bottom, float *top,
                                            unsigned char *mask_bytes, int *mask_words,
                                            const Draws *draws, AXES) {
    const Mask mask = {mask_bytes, mask_words};
    const Axis rows = ROWS, columns = COLUMNS;
    const int places = out_height * out_width;
    PLACE_OR_RETURN(places);
    const int r = place / out_width, q = place % out_width;
    for EACH_PLANE(plane) {
        const float *map = bottom + plane * height * width;
        const int64 at = plane * places + place;
        float total = 0;
        each_pixel(map, rows, columns, r, q, [&](float pixel, int) {
            total += pixel;
            return true;
        });
        // 24 bits, so that the number is below 1.
        const float drawn = (Philox(at, draws->passes, draws->seed).word[0] >> 8) * 0x1p-24f;
        const float threshold = drawn * total;
        float sum = 0, chosen = 0;
        int offset = -1;
        each_pixel(map, rows, columns, r, q, [&](float pixel, int i) {
            sum += pixel, chosen = pixel, offset = i;
            return sum < threshold;
        });
        top[at] = chosen;
        mask.put(at, offset);
    }
}

// top = the sum of squares / the sum, or 0 where that is 0.
extern "C" __global__ void stochastic_test(const float *bottom, float *top, AXES) {
    const Axis rows = ROWS, columns = COLUMNS;
    const int places = out_height * out_width;
    PLACE_OR_RETURN(places);
    const int r = place / out_width, q = place % out_width;
    for EACH_PLANE(plane) {
        float total = 0, squares = 0;
        each_pixel(bottom + plane * height * width, rows, columns, r, q,
                   [&](float pixel, int) {
                       total += pixel, squares += pixel * pixel;
                       return true;
                   });
        top[plane * places + place] = total == 0 ? 0 : squares / total;
    }
}
