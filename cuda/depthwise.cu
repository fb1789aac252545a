// Convolution in which every output channel reads one input channel, and its gradients. Such layers
// do too little arithmetic for a product of matrices. Transposed it is the bilinear Deconvolution by
// which networks sample up.
//
// x is (N, C, H, W), w (K, 1, kh, kw), y (N, K, Ho, Wo), with K = C * repeat.
#include "moving_kernel.cuh"

// A thread computes one element of y; neighbours read neighbouring pixels.
extern "C" __global__ void depthwise_forward(const float *x, const float *w, float *y, int count,
                                             int outputs, int repeat, AXIS(vertical),
                                             AXIS(horizontal)) {
    const Axis rows = MAKE_AXIS(vertical), lines = MAKE_AXIS(horizontal);
    for_each(i, count) {
        const int line = i % lines.positions, row = i / lines.positions % rows.positions;
        const int plane = i / lines.positions / rows.positions;
        const int output = plane % outputs;
        // Planes of x are counted over images and channels, as those of y.
        const float *source = x + static_cast<int64>(plane / repeat) * rows.size * lines.size;
        const float *weight = w + static_cast<int64>(output) * rows.kernel * lines.kernel;
        float sum = 0;
        for (int a = 0; a < rows.kernel; ++a) {
            const int h = rows.pixel(row, a);
            if (h < 0) continue;
            for (int b = 0; b < lines.kernel; ++b) {
                const int at = lines.pixel(line, b);
                if (at >= 0)
                    sum += weight[a * lines.kernel + b] *
                           source[static_cast<int64>(h) * lines.size + at];
            }
        }
        y[i] = sum;
    }
}

// A thread computes one element of x_diff: it visits only the offsets that can have seen it.
extern "C" __global__ void depthwise_backward_data(const float *y_diff, const float *w,
                                                   float *x_diff, int count, int channels,
                                                   int repeat, AXIS(vertical), AXIS(horizontal)) {
    const Axis rows = MAKE_AXIS(vertical), lines = MAKE_AXIS(horizontal);
    const int taps = rows.kernel * lines.kernel;
    const int64 pixels = static_cast<int64>(rows.positions) * lines.positions;
    for_each(i, count) {
        const int column = i % lines.size, h = i / lines.size % rows.size;
        const int plane = i / lines.size / rows.size;
        const int channel = plane % channels;
        const float *source = y_diff + static_cast<int64>(plane) * repeat * pixels;
        const float *weight = w + static_cast<int64>(channel) * repeat * taps;
        float sum = 0;
        for (int a = rows.first(h); a < rows.kernel; a += rows.step()) {
            const int row = rows.position(h, a);
            if (row < 0) continue;
            for (int b = lines.first(column); b < lines.kernel; b += lines.step()) {
                const int line = lines.position(column, b);
                if (line < 0) continue;
                const int64 at = static_cast<int64>(row) * lines.positions + line;
                for (int k = 0; k < repeat; ++k)
                    sum += weight[k * taps + a * lines.kernel + b] * source[k * pixels + at];
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
