"""Local response normalisation: divide each pixel by a power of the activity around it.

    y = x * scale ** -beta,  scale = k + weight * (sum of x ** 2 over the neighbourhood)

The neighbourhood is `size` channels at one pixel, or `size` x `size` pixels of one channel; beyond
the edges are zeros. Its derivative needs nothing that the forward pass would have to keep:

    x_diff = y_diff * scale ** -beta - 2 weight beta x * (sum of y_diff * y / scale)

Source: A. Krizhevsky et al., "ImageNet classification with deep convolutional neural networks",
2012, section 3.3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from caffe_spn import cpu

# Numbers that a thread's block of maps may have: they stay in the second-level cache.
BLOCK = 32768


class Neighbourhood(NamedTuple):
    """What `forward` and `backward` compute.

    Parameters
    ----------
    size : int
        Odd.
    across : bool
        Over channels, or within each channel.
    alpha : float
        The weight of the whole neighbourhood, which `weight` divides by its elements.
    beta, k : float
    """

    size: int
    across: bool
    alpha: float
    beta: float
    k: float

    @property
    def weight(self) -> float:
        return self.alpha / (self.size if self.across else self.size**2)

    @property
    def quarters(self) -> int:
        """`beta` in quarters, from 1 to 4, or 0 if it is another number."""
        return int(4 * self.beta) if 4 * self.beta in (1, 2, 3, 4) else 0

    def reach(self, length: int) -> int:
        """How far it reaches to both sides along an axis of so many elements."""
        return min(self.size // 2, length - 1)

    def sums(self, x):
        """The sum of x over the neighbourhood of each element."""
        for axis in (1,) if self.across else (2, 3):
            x = np.moveaxis(x, axis, 0)
            total = x.copy()
            for distance in range(1, self.reach(len(x)) + 1):
                total[distance:] += x[:-distance]
                total[:-distance] += x[distance:]
            x = np.moveaxis(total, 0, axis)
        return x


def forward(x, y, around: Neighbourhood) -> None:
    """Normalise the maps x (N, C, H, W) into y, which must not overlap x."""
    if cpu.compiled_suits(x, y):
        _run_compiled("forward", (x, y), around)
        return
    scale = around.k + around.weight * around.sums(x * x)
    with np.errstate(divide="ignore", invalid="ignore"):
        np.multiply(x, scale**-around.beta, out=y)


def backward(x, y_diff, x_diff, around: Neighbourhood) -> None:
    """The derivative by x, into x_diff, which may be y_diff."""
    if cpu.compiled_suits(x, y_diff, x_diff):
        _run_compiled("backward", (x, y_diff, x_diff), around)
        return
    scale = around.k + around.weight * around.sums(x * x)
    with np.errstate(divide="ignore", invalid="ignore"):
        direct = y_diff * scale**-around.beta
        ratio = around.sums(direct * x / scale)
        np.subtract(direct, 2 * around.weight * around.beta * x * ratio, out=x_diff)


def _run_compiled(name: str, arrays, around: Neighbourhood) -> None:
    from caffe_spn.cpu import lrn_compiled
    from caffe_spn.cpu.scratch import scratch

    batch, channels, height, width = arrays[0].shape
    numbers = tuple(np.float32(v) for v in (around.weight, around.beta, around.k))
    with cpu.parallel_section():
        if around.across:
            pixels = height * width
            arrays = [a.reshape(batch, channels, pixels) for a in arrays]
            block = min(pixels, max(64, BLOCK // channels))
            workspace = scratch("lrn", cpu.thread_count(), channels + 2, block)
            kernel = getattr(lrn_compiled, f"across_{name}")
            kernel(*arrays, around.reach(channels), *numbers, around.quarters, workspace)
        else:
            arrays = [a.reshape(batch * channels, height, width) for a in arrays]
            reach = (around.reach(height), around.reach(width))
            workspace = scratch("lrn", cpu.thread_count(), height + 4, width + 2 * reach[1])
            kernel = getattr(lrn_compiled, f"within_{name}")
            kernel(*arrays, reach, *numbers, around.quarters, workspace)
