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
__device__ __forceinline__ void backward_data(const float *y_diff, const float *w, float *x_diff,
                                              int count, int channels, int repeat,
                                              const Axis &rows, const Axis &lines) {
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

extern "C" __global__ void depthwise_backward_data(const float *y_diff, const float *w,
                                                   float *x_diff, int count, int channels,
                                                   int repeat, AXIS(vertical), AXIS(horizontal)) {
    backward_data(y_diff, w, x_diff, count, channels, repeat, MAKE_AXIS(vertical),
                  MAKE_AXIS(horizontal));
}

// The same with what networks sample up by, known to the compiler: kernel 4, stride 2, one output
// for each channel. Divisions become shifts.
extern "C" __global__ void depthwise_double(const float *y_diff, const float *w, float *x_diff,
                                            int count, int channels, int height, int width,
                                            int pad_h, int pad_w, int rows, int lines) {
    backward_data(y_diff, w, x_diff, count, channels, 1, Axis{height, 4, 2, pad_h, 1, rows},
                  Axis{width, 4, 2, pad_w, 1, lines});
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
