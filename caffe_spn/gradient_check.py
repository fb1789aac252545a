"""Compare a layer's backward with finite differences of its forward, in float64.

Source: `GradientChecker` of BVLC Caffe, whose idea of a kink (a point without derivative, around
which the comparison is left out) is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffe_spn import device
from caffe_spn.blob import Blob
from caffe_spn.layer import Layer, create_layer
from caffe_spn.proto import caffe_pb2, text


def check_gradients(
    layer,
    bottoms: Sequence,
    *,
    tops: int = 1,
    phase: int = 0,
    check_bottoms: Sequence[int] | None = None,
    check_params: bool = True,
    params: Sequence | None = None,
    step: float = 1e-5,
    threshold: float | None = None,
    kink: float = 0.0,
    kink_range: float = -1.0,
    samples: int | None = None,
    seed: int = 1701,
    on_gpu: bool = False,
) -> None:
    """Check the gradients of one layer, your own Python layers included.

    The objective is the sum of all tops, each element weighted with a fixed random number (a
    loss layer's first top with its loss weight), so that one backward pass serves all elements.

    Parameters
    ----------
    layer : str, LayerParameter or Layer
        A definition as prototxt text (``type: "Power" power_param { power: 2 }``), a parsed
        one, or a layer before its setup.
    bottoms : sequence of array or of shape
        The inputs; for a tuple of int, standard normal numbers of that shape.
    tops : int, default 1
        How many tops to give the layer.
    phase : int, default 0 (TRAIN)
    check_bottoms : sequence of int, optional
        Bottoms to check; all but labels if not given.
    check_params : bool, default True
        Whether to check the parameters too.
    params : sequence of array, optional
        Values for the parameters; otherwise standard normal numbers.
    step : float, default 1e-5
        Half the distance of the two points of a difference.
    threshold : float, optional
        Allowed error, relative to the larger of 1 and the gradients compared; 1e-6 by default, and
        1e-3 on the GPU.
    kink, kink_range : float
        Elements with ``kink - kink_range <= |x| <= kink + kink_range`` are left out.
    samples : int, optional
        Check only so many elements of each blob, chosen at random.
    seed : int, default 1701
    on_gpu : bool, default False
        Check the backward pass of the layer's GPU path, in float32. The differences are those of
        the CPU's forward in float64 as ever. It takes a definition, not a Layer.

    Raises
    ------
    AssertionError
        Naming the blob, the index, both gradients and how many elements differ.
    """
    rng = np.random.default_rng(seed)
    if threshold is None:
        threshold = 1e-3 if on_gpu else 1e-6
    definition = layer
    layer = _make_layer(layer, len(bottoms), tops, phase)
    bottom = [_make_blob(b, rng) for b in bottoms]
    top = [Blob((), np.float64) for _ in range(tops)]
    layer.check_arity(bottom, top)
    layer.setup(bottom, top)
    layer.reshape(bottom, top)
    for i, blob in enumerate(layer.blobs):
        blob.data[...] = rng.standard_normal(blob.shape) if params is None else params[i]
    layer.param_propagate_down = [check_params] * len(layer.blobs)
    if check_bottoms is None:
        check_bottoms = [i for i in range(len(bottom)) if layer.allow_force_backward(i)]
    propagate = [i in check_bottoms for i in range(len(bottom))]

    weights = _top_weights(layer, bottom, top, rng)
    checked = [("bottom", i) for i in check_bottoms]
    if check_params:
        checked += [("parameter", i) for i in range(len(layer.blobs))]
    if on_gpu:
        analytic = _gradients_on_gpu(definition, layer, bottom, weights, propagate, checked)
    else:
        analytic = _gradients(layer, bottom, top, weights, propagate, checked)
    targets = [
        (f"{kind} {i}", (bottom if kind == "bottom" else layer.blobs)[i]) for kind, i in checked
    ]

    def objective() -> float:
        layer.reshape(bottom, top)
        layer.forward(bottom, top)
        return sum(float((t.data * w).sum()) for t, w in zip(top, weights, strict=True))

    problems = []
    for (name, blob), gradient in zip(targets, analytic, strict=True):
        numeric, indices = _differences(blob, objective, step, samples, rng)
        values = blob.data.reshape(-1)[indices]
        expected, found = numeric[indices], gradient.reshape(-1)[indices]
        scale = np.maximum(1, np.maximum(np.abs(expected), np.abs(found)))
        wrong = ~(np.abs(expected - found) <= threshold * scale)
        if kink_range >= 0:
            wrong &= np.abs(np.abs(values) - kink) > kink_range
        if wrong.any():
            i = int(np.argmax(np.where(wrong, np.abs(expected - found) / scale, -1)))
            where = np.unravel_index(indices[i], blob.shape)
            problems.append(
                f"{name}, index {tuple(int(w) for w in where)}: backward gives {found[i]:.9g},"
                f" differences give {expected[i]:.9g} ({int(wrong.sum())} of {wrong.size} differ)"
            )
    if problems:
        raise AssertionError(f"wrong gradients of {layer.where}\n  " + "\n  ".join(problems))


def _gradients(layer, bottom, top, weights, propagate, checked) -> list[np.ndarray]:
    """What backward gives for the blobs named by `checked`."""
    for blob in layer.blobs:
        blob.diff.fill(0)
    for blob, weight in zip(top, weights, strict=True):
        blob.diff[...] = weight
    layer.backward(top, propagate, bottom)
    return [
        (bottom if kind == "bottom" else layer.blobs)[i].diff.astype(np.float64)
        for kind, i in checked
    ]


def _gradients_on_gpu(definition, layer, bottom, weights, propagate, checked):
    """The same of a twin of `layer` in float32, which runs on the GPU."""
    if isinstance(definition, Layer):
        raise TypeError("check_gradients(on_gpu=True) takes a definition, not a Layer")
    twin = _make_layer(definition, len(bottom), len(weights), layer.phase, np.float32)
    copies = [_make_blob(blob.data, None, np.float32) for blob in bottom]
    top = [Blob() for _ in weights]
    before = device.mode()
    device.set_mode_gpu()
    try:
        twin.setup(copies, top)
        twin.reshape(copies, top)
        for ours, theirs in zip(twin.blobs, layer.blobs, strict=True):
            ours.data[...] = theirs.data
        twin.param_propagate_down = list(layer.param_propagate_down)
        twin.forward(copies, top)
        return _gradients(twin, copies, top, weights, propagate, checked)
    finally:
        if before == device.CPU:
            device.set_mode_cpu()


def _make_layer(layer, bottoms: int, tops: int, phase: int, dtype=np.float64) -> Layer:
    if isinstance(layer, Layer):
        return layer
    param = caffe_pb2.LayerParameter()
    if isinstance(layer, str):
        param = text.parse(layer, param, "<layer>")
    else:
        param.CopyFrom(layer)
    param.name = param.name or "checked"
    param.phase = phase
    if not param.bottom:
        param.bottom.extend(f"bottom{i}" for i in range(bottoms))
    if not param.top:
        param.top.extend(f"top{i}" for i in range(tops))
    return create_layer(param, dtype=dtype)


def _make_blob(value, rng, dtype=np.float64) -> Blob:
    if isinstance(value, tuple) and all(isinstance(d, int) for d in value):
        value = rng.standard_normal(value)
    value = np.asarray(value, dtype)
    blob = Blob(value.shape, dtype)
    blob.data[...] = value
    return blob


def _top_weights(layer: Layer, bottom, top, rng) -> list[np.ndarray]:
    layer.forward(bottom, top)
    weights = [rng.uniform(0.5, 1.5, t.shape) * rng.choice([-1, 1], t.shape) for t in top]
    if layer.is_loss:
        # Only the first top of a loss layer has a gradient, and it is scaled by one number.
        weights = [np.full(t.shape, 1.75 if i == 0 else 0.0) for i, t in enumerate(top)]
    return weights


def _differences(blob: Blob, objective, step: float, samples: int | None, rng):
    flat = blob.data.reshape(-1)
    indices = np.arange(flat.size)
    if samples is not None and samples < flat.size:
        indices = np.sort(rng.choice(flat.size, samples, replace=False))
    numeric = np.zeros(flat.size)
    for i in indices:
        value = flat[i]
        flat[i] = value + step
        above = objective()
        flat[i] = value - step
        below = objective()
        flat[i] = value
        numeric[i] = (above - below) / (2 * step)
    return numeric, indices
