"""What the tests of Convolution, Deconvolution and Im2col share."""

from __future__ import annotations

import numpy as np

from tests.layers.running import Run, normal


def output_size(size, kernel, stride, pad, dilation):
    """The number of the kernel's positions along each axis, as C++ divides: towards 0."""
    axes = zip(size, kernel, stride, pad, dilation, strict=True)
    return [int((n + 2 * p - d * (k - 1) - 1) / s) + 1 for n, k, s, p, d in axes]


def under_kernel(position, kernel, size, stride, pad, dilation):
    """The elements of the kernel and the pixels under them, with the kernel at one position.

    Those beyond the map, which has `size`, are left out.
    """
    for offset in np.ndindex(*kernel):
        steps = zip(position, stride, pad, offset, dilation, strict=True)
        pixel = tuple(p * s - a + o * d for p, s, a, o, d in steps)
        if all(0 <= at < n for at, n in zip(pixel, size, strict=True)):
            yield offset, pixel


def check_forward(definition: str, shape, expected, **arguments) -> None:
    """Compare a layer, with random weights and bias, with ``expected(x, w, bias, **arguments)``."""
    run = Run(definition, normal(*shape))
    w, bias = run.layer.blobs
    w.data[...], bias.data[...] = normal(*w.shape, seed=1), normal(*bias.shape, seed=2)
    run.forward()
    wanted = expected(run.bottom[0].data, w.data, bias.data, **arguments)
    assert run.out.shape == wanted.shape
    np.testing.assert_allclose(run.out, wanted, 1e-5, 1e-5)


def check_accumulation(definition: str, shape) -> None:
    """A second backward pass adds the same to the parameters' diffs once more."""
    run = Run(definition, normal(*shape))
    diff = normal(*run.out.shape, seed=3)
    run.backward(diff)
    once = [blob.diff.copy() for blob in run.layer.blobs]
    run.backward(diff)
    for blob, before in zip(run.layer.blobs, once, strict=True):
        np.testing.assert_allclose(blob.diff, 2 * before, 1e-5, 1e-5)
