"""Run one layer without a net, for tests."""

from __future__ import annotations

import numpy as np

from caffe_spn.blob import Blob
from caffe_spn.layer import create_layer
from caffe_spn.proto import caffe_pb2, text

TRAIN, TEST = 0, 1

# The shapes that every layer must take: batches, H != W, single elements, nothing square.
SHAPES = {"batch": (2, 3, 4, 5), "single": (1, 1, 1, 1), "matrix": (3, 5), "deep": (2, 1, 3, 2, 2)}


def normal(*shape, seed=0):
    """Standard normal numbers in float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Run:
    """A layer that was set up and has run forward once.

    Parameters
    ----------
    definition : str
        The LayerParameter's text, such as ``type: "ReLU"``.
    *bottoms : array
    tops : int, default 1
    phase : int, default TRAIN
    params : sequence of array, optional
        Values for the parameters.
    in_place : bool, default False
        Whether top 0 is bottom 0.
    """

    def __init__(self, definition, *bottoms, tops=1, phase=TRAIN, params=(), in_place=False):
        param = text.parse(definition, caffe_pb2.LayerParameter(), "<layer>")
        param.name = "tested"
        param.phase = phase
        param.bottom.extend(f"b{i}" for i in range(len(bottoms)))
        param.top.extend("b0" if in_place else f"t{i}" for i in range(tops))
        self.layer = create_layer(param)
        self.bottom = [self._blob(b) for b in bottoms]
        self.top = self.bottom[:1] if in_place else [Blob() for _ in range(tops)]
        self.layer.check_arity(self.bottom, self.top)
        self.layer.setup(self.bottom, self.top)
        self.layer.param_propagate_down = [True] * len(self.layer.blobs)
        for blob, value in zip(self.layer.blobs, params, strict=False):
            blob.data[...] = value
        self.forward()

    @staticmethod
    def _blob(value) -> Blob:
        blob = Blob(np.shape(value))
        blob.data[...] = value
        return blob

    def forward(self) -> None:
        self.layer.reshape(self.bottom, self.top)
        self.layer.forward(self.bottom, self.top)

    @property
    def out(self) -> np.ndarray:
        return self.top[0].data

    def backward(self, *top_diffs, propagate=None) -> list[np.ndarray]:
        """Run backward; the diffs of the bottoms."""
        for blob, diff in zip(self.top, top_diffs, strict=True):
            blob.diff[...] = diff
        if propagate is None:
            propagate = [self.layer.allow_force_backward(i) for i in range(len(self.bottom))]
        self.layer.backward(self.top, propagate, self.bottom)
        return [blob.diff for blob in self.bottom]
