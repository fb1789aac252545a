// Im2col: the pixels under a moving kernel as columns of a matrix, so that a product of matrices is
// the convolution; and its adjoint.
//
// Row r of the columns is (channel, offset in the kernel); column q is (image, position). Positions
// are those from `first` on, as many as `positions`, in the order of the output's pixels.
//
// Source: `im2col_gpu` and `col2im_gpu` of BVLC Caffe; there col2im is a gather too.
#include "moving_kernel.cuh"

// A thread writes all rows of one channel in one column: neighbours write side by side.
extern "C" __global__ void im2col_2d(const float *x, float *columns, int images, int channels,
                                     AXIS(vertical), AXIS(horizontal), int first, int positions) {
    const Axis rows = MAKE_AXIS(vertical), lines = MAKE_AXIS(horizontal);
    const int width = images * positions, taps = rows.kernel * lines.kernel;
    const int64 plane = static_cast<int64>(rows.size) * lines.size;
    for_each(i, channels * width) {
        const int channel = i / width, column = i % width;
        const int image = column / positions, at = first + column % positions;
        const int row = at / lines.positions, line = at % lines.positions;
        const float *source = x + (static_cast<int64>(image) * channels + channel) * plane;
        float *target = columns + static_cast<int64>(channel) * taps * width + column;
        for (int a = 0; a < rows.kernel; ++a) {
            const int h = rows.pixel(row, a);
            for (int b = 0; b < lines.kernel; ++b, target += width) {
                const int w = lines.pixel(line, b);
                *target = h < 0 || w < 0 ? 0 : source[static_cast<int64>(h) * lines.size + w];
            }
        }
    }
}

// A thread adds up all that belongs to one pixel, in a fixed order. With `add` the pixels get it on
// top of what they have: another part of the positions went before.
extern "C" __global__ void col2im_2d(const float *columns, float *x, int images, int channels,
                                     AXIS(vertical), AXIS(horizontal), int first, int positions,
                                     int add) {
    const Axis rows = MAKE_AXIS(vertical), lines = MAKE_AXIS(horizontal);
    const int width = images * positions, taps = rows.kernel * lines.kernel;
    for_each(i, images * channels * rows.size * lines.size) {
        const Place place(i, rows.size, lines.size);
        const int channel = place.plane % channels, image = place.plane / channels;
        const float *source = columns + static_cast<int64>(channel) * taps * width +
                              static_cast<int64>(image) * positions;
        float sum = add ? x[i] : 0;
        for (Seen row(rows, place.row); row.any(); row.next())
            for (Seen line(lines, place.column); line.any(); line.next()) {
                const int at = row.position * lines.positions + line.position - first;
                const int tap = row.offset * lines.kernel + line.offset;
                if (at >= 0 && at < positions) sum += source[static_cast<int64>(tap) * width + at];
            }
        x[i] = sum;
    }
}

// The same for four axes; a map of fewer has axes of one pixel in front.
extern "C" __global__ void im2col_4d(const float *x, float *columns, int images, int channels,
                                     AXIS(a), AXIS(b), AXIS(c), AXIS(d), int first, int positions) {
    const Axis axes[4] = {MAKE_AXIS(a), MAKE_AXIS(b), MAKE_AXIS(c), MAKE_AXIS(d)};
    const int taps = a_kernel * b_kernel * c_kernel * d_kernel, width = images * positions;
    for_each(i, static_cast<int64>(channels) * taps * width) {
        const int column = i % width, row = i / width;
        int tap = row % taps, at = first + column % positions;
        int64 offset = 0, stride = 1;
        bool inside = true;
        for (int k = 3; k >= 0; --k) {
            const int pixel = axes[k].pixel(at % axes[k].positions, tap % axes[k].kernel);
            inside = inside && pixel >= 0;
            offset += pixel * stride;
            stride *= axes[k].size;
            at /= axes[k].positions;
            tap /= axes[k].kernel;
        }
        const int64 plane = static_cast<int64>(column / positions) * channels + row / taps;
        columns[i] = inside ? x[plane * stride + offset] : 0;
    }
}

extern "C" __global__ void col2im_4d(const float *columns, float *x, int images, int channels,
                                     AXIS(a), AXIS(b), AXIS(c), AXIS(d), int first, int positions,
                                     int add) {
    const Axis axes[4] = {MAKE_AXIS(a), MAKE_AXIS(b), MAKE_AXIS(c), MAKE_AXIS(d)};
    const int taps = a_kernel * b_kernel * c_kernel * d_kernel, width = images * positions;
    const int pixels = a_size * b_size * c_size * d_size;
    for_each(i, images * channels * pixels) {
        const int channel = i / pixels % channels, image = i / pixels / channels;
        const float *source = columns + static_cast<int64>(channel) * taps * width +
                              static_cast<int64>(image) * positions;
        float sum = add ? x[i] : 0;
        for (int tap = 0; tap < taps; ++tap) {
            int pixel = i % pixels, offset = tap, at = 0, stride = 1;
            bool seen = true;
            for (int k = 3; k >= 0 && seen; --k) {
                const int position =
                    axes[k].position(pixel % axes[k].size, offset % axes[k].kernel);
                seen = position >= 0;
                at += position * stride;
                stride *= axes[k].positions;
                pixel /= axes[k].size;
                offset /= axes[k].kernel;
            }
            at -= first;
            if (seen && at >= 0 && at < positions)
                sum += source[static_cast<int64>(tap) * width + at];
        }
        x[i] = sum;
    }
}

// target[b, a, i] = source[a, b, i]
extern "C" __global__ void swap_axes(const float *source, float *target, int a, int b, int inner) {
    for_each(i, a * b * inner) {
        const int at = i % inner, second = i / inner % b, first = i / inner / b;
        target[(static_cast<int64>(second) * a + first) * inner + at] = source[i];
    }
}
