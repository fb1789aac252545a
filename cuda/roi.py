"""Launches ``roi.cu``: patches of one size cut out of maps, and their gradients put back.

Where the patches lie comes from the host, where it was checked: a kernel cannot raise an error.
"""

from __future__ import annotations

import numpy as np

from caffe_spn.cuda.arguments import check
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.runtime import THREADS, blocks, runtime
from caffe_spn.errors import ShapeError

SOURCE = "roi.cu"


def plan(corners: np.ndarray, images: int) -> np.ndarray:
    """What the kernels need to know of the patches, as one int32 array.

    Parameters
    ----------
    corners : ndarray (R, 3)
        Image, row and column where each patch begins, counted from 0.
    images : int
        How many there are.

    Returns
    -------
    ndarray (4 R + images + 1,)
        The corners; then the patches' numbers, those of one image together and in order; then
        where each image's begin among these.
    """
    order = np.argsort(corners[:, 0], kind="stable")
    starts = np.searchsorted(corners[order, 0], np.arange(images + 1))
    return np.concatenate((corners.reshape(-1), order, starts)).astype(np.int32)


def forward(x: DeviceArray, plan: DeviceArray, top: DeviceArray) -> None:
    """top[r, c, i, j] = x[image, c, row + i, column + j] for patch r.

    Parameters
    ----------
    x : DeviceArray (N, C, H, W)
    plan : DeviceArray
        From the function `plan`; patches lie in the maps.
    top : DeviceArray (R, C, h, w)
    """
    corners, _, _ = _parts("roi_forward", plan, x, top)
    check("roi_forward", x=x)
    if check("roi_forward", top=top):
        _launch("roi_forward", x, corners, top, *x.shape[1:], *top.shape[2:], top.size)


def backward(top_diff: DeviceArray, plan: DeviceArray, x_diff: DeviceArray) -> None:
    """x_diff = the gradients of all patches, added up where these overlap, and 0 elsewhere."""
    corners, order, starts = _parts("roi_backward", plan, x_diff, top_diff)
    check("roi_backward", top_diff=top_diff)
    if check("roi_backward", x_diff=x_diff):
        sizes = *x_diff.shape[1:], *top_diff.shape[2:], x_diff.size
        _launch("roi_backward", top_diff, corners, order, starts, x_diff, *sizes)


def _parts(kernel: str, plan: DeviceArray, maps: DeviceArray, patches: DeviceArray):
    images, count = maps.shape[0], patches.shape[0]
    if maps.shape[1] != patches.shape[1]:
        raise ShapeError(f"{kernel}: patches {patches.shape} cannot come from maps {maps.shape}")
    check(kernel, 4 * count + images + 1, np.int32, plan=plan)
    corners, order = plan.part(0, (count, 3)), plan.part(3 * count, (count,))
    return corners, order, plan.part(4 * count, (images + 1,))


def _launch(kernel: str, *arguments) -> None:
    runtime().launch(SOURCE, kernel, blocks(arguments[-1]), THREADS, *arguments)
