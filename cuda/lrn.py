"""Launches the kernels of ``lrn.cu``: local response normalisation of maps (N, C, H, W)."""

from __future__ import annotations

from typing import Protocol

from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, blocks, runtime
from caffe_spn.errors import ShapeError

SOURCE = "lrn.cu"
FLOAT = 4
WARP = 32
# Channels that a thread goes through, as in the kernels; and the most rows of blocks.
CHUNK = 16
MOST_ROWS = 65535


class Neighbourhood(Protocol):
    """What is asked of the CPU's `Neighbourhood`."""

    size: int
    across: bool
    beta: float
    k: float

    @property
    def weight(self) -> float: ...


def forward(x: DeviceArray, y: DeviceArray, around: Neighbourhood) -> None:
    """Normalise the maps x into y, which must not overlap x."""
    check("lrn_forward", x=x, y=y)
    _launch("forward", x, around, x, y)


def backward(
    x: DeviceArray, y_diff: DeviceArray, x_diff: DeviceArray, around: Neighbourhood
) -> None:
    """The derivative by x, into x_diff, which may be y_diff."""
    check("lrn_backward", x=x, y_diff=y_diff, x_diff=x_diff)
    ratio = runtime().scratch(FLOAT * x.size)
    _launch("begin_backward", x, around, x, y_diff, x_diff, ratio)
    _launch("end_backward", x, around, x, ratio, x_diff)


def _launch(step: str, x: DeviceArray, around: Neighbourhood, *arrays) -> None:
    kernel = f"{'across' if around.across else 'within'}_{step}"
    if len(x.shape) != 4:
        raise ShapeError(f"{kernel}: maps are (N, C, H, W); these are {x.shape}")
    if not x.size:
        return
    numbers = (float(around.weight), float(around.beta), float(around.k))
    reach = min(around.size // 2, max(x.shape))
    grid, block = _columns(x.shape) if around.across else (blocks(x.size), THREADS)
    runtime().launch(SOURCE, kernel, grid, block, *arrays, *x.shape, reach, *numbers)


def _columns(shape: tuple[int, ...]) -> tuple[tuple[int, int], int]:
    """Grid and block: pixels of a map along x, and along y parts of `CHUNK` channels."""
    batch, channels, height, width = shape
    block = min(THREADS, -(-height * width // WARP) * WARP)
    across = -(-height * width // block)
    parts = batch * -(-channels // CHUNK)
    return (across, min(parts, MOST_ROWS)), block
