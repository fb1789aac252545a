"""Where the elements of one top of a NetSpec lie in another: what cropping and aligning need.

A map is the tuple (axis, scale, shift): the coordinate x of the first spatial axis behind channel
axis `axis` of a layer's input becomes ``scale * x + shift`` in its output, for each spatial axis.
Layers that work on each element alone have (None, 1, 0). Scales and shifts are arrays with one
element for each spatial axis, or one for all.

>>> from caffe_spn import layers as L
>>> from caffe_spn.coord_map import coord_map_from_to, crop
>>> data = L.Input(shape=dict(dim=[1, 3, 64, 64]))
>>> pool = L.Pooling(data, kernel_size=4, stride=4)
>>> up = L.Deconvolution(pool, convolution_param=dict(num_output=1, kernel_size=8, stride=4))
>>> coord_map_from_to(up, data)
(1, array([1.]), array([-2.]))
>>> crop(up, data).fn.params
{'crop_param': {'axis': 2, 'offset': [2]}}

Source: `python/caffe/coord_map.py` of BVLC Caffe, whose names and results these keep.
"""

from __future__ import annotations

import numpy as np

from caffe_spn.net_spec import Top, layers

Map = tuple  # (int or None, array or number, array or number)

IDENTITY: Map = (None, 1, 0)

PASS_THROUGH_LAYERS = (
    *("AbsVal", "BatchNorm", "Bias", "BNLL", "Clip", "Dropout", "Eltwise", "ELU", "Exp", "LRN"),
    *("Log", "MVN", "Power", "PReLU", "ReLU", "Scale", "Sigmoid", "Split", "Swish", "TanH"),
    "Threshold",
)
_LEGACY = frozenset(f"{name}_{side}" for name in ("kernel", "stride", "pad") for side in "hw")


class UndefinedMapException(Exception):
    """A layer whose outputs have no place in its inputs, such as InnerProduct."""


class AxisMismatchException(Exception):
    """Two maps whose spatial axes begin at different axes cannot be composed."""


def conv_params(fn):
    """The channel axis, and stride, extent of the kernel and padding of each spatial axis.

    Parameters
    ----------
    fn : Function
        A Convolution, Deconvolution, Im2col or Pooling layer.

    Returns
    -------
    tuple of int, array, array, array
        Dilation is part of the extent.

    Raises
    ------
    AssertionError
        If the layer says `kernel_h` and the like.
    """
    params = fn.params.get("convolution_param", fn.params)
    assert not _LEGACY & (set(params) | set(fn.params)), (
        f"{fn.type_name}: cropping does not support legacy _h/_w params"
    )
    kernel = _per_axis(params["kernel_size"])
    extent = (kernel - 1) * _per_axis(params.get("dilation", 1)) + 1
    stride, pad = _per_axis(params.get("stride", 1)), _per_axis(params.get("pad", 0))
    return params.get("axis", 1), stride, extent, pad


def crop_params(fn):
    """The first cropped axis of a Crop layer, and its offsets."""
    params = fn.params.get("crop_param", fn.params)
    return params.get("axis", 2), _per_axis(params.get("offset", 0))


def _per_axis(value) -> np.ndarray:
    return np.array(value, ndmin=1)


def coord_map(fn) -> Map:
    """The map from the inputs of a layer to its outputs.

    Raises
    ------
    UndefinedMapException
        If there is none.
    """
    if fn.type_name in ("Convolution", "Pooling", "Im2col"):
        axis, stride, extent, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (extent - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, extent, pad = conv_params(fn)
        return axis, stride, (extent - 1) / 2 - pad
    if fn.type_name in PASS_THROUGH_LAYERS:
        return IDENTITY
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset
    raise UndefinedMapException(f"{fn.type_name} does not map coordinates")


def compose(base_map: Map, next_map: Map) -> Map:
    """The map that applies `next_map` first, and `base_map` to what comes out.

    Raises
    ------
    AxisMismatchException
        If their axes differ.
    """
    axis, scale, shift = base_map
    next_axis, next_scale, next_shift = next_map
    if axis is None:
        axis = next_axis
    elif next_axis not in (None, axis):
        raise AxisMismatchException(f"one map is behind axis {axis}, the other behind {next_axis}")
    return axis, scale * next_scale, scale * next_shift + shift


def inverse(coord_map: Map) -> Map:
    """The map in the other direction."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def coord_map_from_to(top_from: Top, top_to: Top) -> Map:
    """The map from coordinates of `top_from` to those of `top_to`.

    The graph is walked back from both until they meet; where several ways lead to the same top,
    they are taken to agree.

    Raises
    ------
    RuntimeError
        If no way of layers that map coordinates connects them.
    AxisMismatchException
        If layers on the way have different spatial axes.
    """
    from_maps = dict(_ancestors(top_from))
    for top, to_map in _ancestors(top_to):
        if top in from_maps:
            return compose(to_map, inverse(from_maps[top]))
    raise RuntimeError("Could not compute map between tops; are they connected by spatial layers?")


def _ancestors(top: Top):
    """All tops that `top` is computed from, the nearest first, with the map from each."""
    maps = {top: IDENTITY}
    queue = [top]
    for found in queue:
        yield found, maps[found]
        try:
            for bottom in _mapped_bottoms(found.fn):
                if bottom not in maps:
                    maps[bottom] = compose(maps[found], coord_map(found.fn))
                    queue.append(bottom)
        except UndefinedMapException:
            pass  # there is no way on from here


def _mapped_bottoms(fn):
    # The second bottom of a Crop layer only says how large the result is.
    return fn.inputs[:1] if fn.type_name == "Crop" else fn.inputs


def crop(top_from: Top, top_to: Top) -> Top:
    """A Crop layer that cuts out of `top_from` what lies over `top_to`.

    Raises
    ------
    AssertionError
        If the scales differ, or the offset is negative or no whole number.
    RuntimeError, AxisMismatchException
        As `coord_map_from_to`.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    # Strides of 3 and 7 make fractions that floats do not hold exactly.
    offset = -np.round(np.asarray(shift, float), 6)
    assert np.allclose(scale, 1), f"scale mismatch on crop (a = {scale})"
    assert np.all(offset >= 0), f"cannot crop negative offset (b = {shift})"
    assert np.all(offset == np.round(offset)), f"cannot crop noninteger offset (b = {shift})"
    offsets = [int(value) for value in np.atleast_1d(offset)]
    first = 2 if axis is None else axis + 1
    return layers.Crop(top_from, top_to, crop_param=dict(axis=first, offset=offsets))
