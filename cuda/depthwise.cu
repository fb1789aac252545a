// Convolution in which every output channel reads one input channel, and its gradients. Such layers
// do too little arithmetic for a product of matrices. Transposed it is the bilinear Deconvolution
// by which networks sample up.
//
// x is (N, C, H, W), w (K, 1, kh, kw), y (N, K, Ho, Wo), with K = C * repeat.
#include "moving_kernel.cuh"

// A thread computes one element of y; neighbours read neighbouring pixels.
extern "C" __global__ void depthwise_forward(const float *x, const float *w, float *y, int count,
                                             int outputs, int repeat, AXIS(vertical),
                                             AXIS(horizontal)) {
    const Axis rows = MAKE_AXIS(vertical), lines = MAKE_AXIS(horizontal);
    for_each(i, count) {
        const Place place(i, rows.positions, lines.positions);
        // Planes of x are counted over images and channels, as those of y.
        const float *source =
            x + static_cast<int64>(place.plane / repeat) * rows.size * lines.size;
        const float *weight =
            w + static_cast<int64>(place.plane % outputs) * rows.kernel * lines.kernel;
        float sum = 0;
        for (int a = 0; a < rows.kernel; ++a) {
            const int h = rows.pixel(place.row, a);
            if (h < 0) continue;
            for (int b = 0; b < lines.kernel; ++b) {
                const int at = lines.pixel(place.column, b);
                if (at >= 0)
                    sum += weight[a * lines.kernel + b] *
                           source[static_cast<int64>(h) * lines.size + at];
            }
        }
        y[i] = sum;
    }
}

// A thread computes one element of x_diff: it visits only the offsets through which it was seen.
extern "C" __global__ void depthwise_backward_data(const float *y_diff, const float *w,
                                                   float *x_diff, int count, int channels,
                                                   int repeat, AXIS(vertical), AXIS(horizontal)) {
    const Axis rows = MAKE_AXIS(vertical), lines = MAKE_AXIS(horizontal);
    const int taps = rows.kernel * lines.kernel;
    const int64 pixels = static_cast<int64>(rows.positions) * lines.positions;
    for_each(i, count) {
        const Place place(i, rows.size, lines.size);
        const float *source = y_diff + static_cast<int64>(place.plane) * repeat * pixels;
        const float *weight = w + static_cast<int64>(place.plane % channels) * repeat * taps;
        float sum = 0;
        for (Seen row(rows, place.row); row.any(); row.next())
            for (Seen line(lines, place.column); line.any(); line.next()) {
                const int tap = row.offset * lines.kernel + line.offset;
                const int64 at = static_cast<int64>(row.position) * lines.positions + line.position;
                for (int k = 0; k < repeat; ++k)
                    sum += weight[k * taps + tap] * source[k * pixels + at];
            }
        x_diff[i] = sum;
    }
}

// The same for what networks sample up by: kernel 4, stride 2, one output for each channel. Every
// pixel is seen through two offsets of each axis, two apart.
extern "C" __global__ void depthwise_double(const float *y_diff, const float *w, float *x_diff,
                                            int count, int channels, int height, int width,
                                            int pad_h, int pad_w, int rows, int lines) {
    for_each(i, count) {
        const Place place(i, height, width);
        const uint32 h = place.row + pad_h, column = place.column + pad_w;
        const float *source = y_diff + static_cast<int64>(place.plane) * rows * lines;
        const float *weight = w + place.plane % channels * 16 + h % 2 * 4 + column % 2;
        float sum = 0;
#pragma unroll
        for (int a = 0; a < 2; ++a) {
            const int row = static_cast<int>(h / 2) - a;
            if (row < 0 || row >= rows) continue;
#pragma unroll
            for (int b = 0; b < 2; ++b) {
                const int line = static_cast<int>(column / 2) - b;
                if (line >= 0 && line < lines)
                    sum += weight[8 * a + 2 * b] * source[static_cast<int64>(row) * lines + line];
            }
        }
        x_diff[i] = sum;
    }
}

// A block adds up one element of w_diff over all images and positions, always in the same order.
extern "C" __global__ void depthwise_backward_weights(const float *y_diff, const float *x,
                                                      float *w_diff, int images, int outputs,
                                                      int repeat, AXIS(vertical),
                                                      AXIS(horizontal)) {
    const Axis rows = MAKE_AXIS(vertical), lines = MAKE_AXIS(horizontal);
    const int taps = rows.kernel * lines.kernel, pixels = rows.positions * lines.positions;
    const int output = blockIdx.x / taps, tap = blockIdx.x % taps;
    const int a = tap / lines.kernel, b = tap % lines.kernel;
    float sum = 0;
    for (int image = 0; image < images; ++image) {
        const int plane = image * outputs + output;
        const float *diff = y_diff + static_cast<int64>(plane) * pixels;
        const float *source = x + static_cast<int64>(plane / repeat) * rows.size * lines.size;
        for (int p = threadIdx.x; p < pixels; p += blockDim.x) {
            const int h = rows.pixel(p / lines.positions, a);
            const int at = lines.pixel(p % lines.positions, b);
            if (h >= 0 && at >= 0) sum += diff[p] * source[static_cast<int64>(h) * lines.size + at];
        }
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) w_diff[blockIdx.x] += sum;
}
