"""The columns of a convolution: the pixels under the kernel, one column for each output position.

Arrays are C-contiguous float32: x (N, C, H, W), columns (channels kh kw, positions); `channels` and
`rows` (of outputs) are given as (from, to), `steps` is (stride h, stride w, pad h, pad w, dilation
h, dilation w).
"""

from __future__ import annotations

from caffe_spn.cpu.jit import jit


@jit()
def taps_inside(tap, stride, pad, size, out):
    """The outputs [first, last) at which offset `tap` of the kernel lies within the map."""
    first = min(out, max(0, (pad - tap + stride - 1) // stride))
    last = min(out, (size - 1 + pad - tap) // stride + 1)
    return first, max(first, last)


@jit()
def im2col(x, n, channels, rows, kernel, steps, out_width, columns, at):
    """Spread image n's pixels into columns[:, at:]."""
    height, width = x.shape[2], x.shape[3]
    kernel_h, kernel_w = kernel
    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w = steps
    for c in range(channels[0], channels[1]):
        for i in range(kernel_h):
            for j in range(kernel_w):
                line = columns[((c - channels[0]) * kernel_h + i) * kernel_w + j]
                tap = j * dilation_w
                first, last = taps_inside(tap, stride_w, pad_w, width, out_width)
                for r in range(rows[0], rows[1]):
                    start = at + (r - rows[0]) * out_width
                    out = line[start : start + out_width]
                    h = r * stride_h - pad_h + i * dilation_h
                    if h < 0 or h >= height:
                        out[:] = 0
                        continue
                    out[:first] = 0
                    out[last:] = 0
                    source = x[n, c, h]
                    if stride_w == 1:
                        inner = out[first:last]
                        source = source[first + tap - pad_w : last + tap - pad_w]
                        for q in range(last - first):
                            inner[q] = source[q]
                    elif stride_w == 2:  # a constant step lets the compiler shuffle vectors
                        inner = out[first:last]
                        source = source[2 * first + tap - pad_w :]
                        for q in range(last - first):
                            inner[q] = source[2 * q]
                    else:
                        for q in range(first, last):
                            out[q] = source[q * stride_w + tap - pad_w]


@jit()
def col2im(x, n, channels, rows, kernel, steps, out_width, columns):
    """Add the columns to the pixels that they came from."""
    height, width = x.shape[2], x.shape[3]
    kernel_h, kernel_w = kernel
    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w = steps
    for c in range(channels[0], channels[1]):
        for i in range(kernel_h):
            for j in range(kernel_w):
                line = columns[((c - channels[0]) * kernel_h + i) * kernel_w + j]
                tap = j * dilation_w
                first, last = taps_inside(tap, stride_w, pad_w, width, out_width)
                for r in range(rows[0], rows[1]):
                    h = r * stride_h - pad_h + i * dilation_h
                    if h < 0 or h >= height:
                        continue
                    start = (r - rows[0]) * out_width
                    source = line[start : start + out_width]
                    target = x[n, c, h]
                    if stride_w == 1:
                        target = target[first + tap - pad_w : last + tap - pad_w]
                        source = source[first:last]
                        for q in range(last - first):
                            target[q] += source[q]
                    else:
                        for q in range(first, last):
                            target[q * stride_w + tap - pad_w] += source[q]
