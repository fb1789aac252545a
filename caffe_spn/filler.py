"""Fillers: how the parameters of a layer start.

Source: the fillers of BVLC Caffe; X. Glorot and Y. Bengio, "Understanding the difficulty of
training deep feedforward neural networks", 2010 (xavier); K. He et al., "Delving deep into
rectifiers", 2015 (msra).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from caffe_spn.errors import PrototxtError, nearest
from caffe_spn.proto import caffe_pb2
from caffe_spn.random import generator


def fill(array: np.ndarray, filler_param, rng: np.random.Generator | None = None) -> None:
    """Fill `array` in place as a FillerParameter says.

    Parameters
    ----------
    array : ndarray
        The data of a parameter blob. The first axis counts outputs, the second inputs.
    filler_param : FillerParameter
        ``type`` is one of `FILLERS`; the other fields belong to one or a few types.
    rng : numpy Generator, optional
        The package's own when left out.

    Raises
    ------
    PrototxtError
        If the type is unknown, or its parameters make no sense for this array.

    Examples
    --------
    >>> weights = np.empty((2, 1, 4, 4), np.float32)
    >>> fill(weights, caffe_pb2.FillerParameter(type="bilinear"))
    >>> weights[0, 0, 1]
    array([0.1875, 0.5625, 0.5625, 0.1875], dtype=float32)
    """
    name = filler_param.type
    check_type(filler_param)
    if array.size == 0:
        raise PrototxtError(
            f"filler '{name}' needs a blob with elements; this one is {array.shape}",
            help="check num_output and the sizes of the layers below",
        )
    if name != "gaussian" and filler_param.sparse != -1:
        raise PrototxtError(
            f"filler '{name}' cannot be sparse (sparse: {filler_param.sparse})",
            help="leave 'sparse' out, or use the gaussian filler",
        )
    FILLERS[name](array, filler_param, generator() if rng is None else rng)


def check_type(filler_param) -> None:
    """Refuse a FillerParameter whose type is none of `FILLERS`.

    Raises
    ------
    PrototxtError
        With the nearest name.
    """
    name = filler_param.type
    if name not in FILLERS:
        near = nearest(name, FILLERS)
        raise PrototxtError(
            f"unknown filler '{name}'",
            help=f"did you mean '{near}'?" if near else f"there are {', '.join(FILLERS)}",
        )


def fill_constant(array: np.ndarray, param, rng: np.random.Generator) -> None:
    """Every element is `value`."""
    array.fill(param.value)


def fill_uniform(array: np.ndarray, param, rng: np.random.Generator) -> None:
    """Uniform between `min` and `max`."""
    if not param.min <= param.max:
        raise PrototxtError(
            f"filler 'uniform' has min {param.min:g} above max {param.max:g}",
            help="min is 0 and max is 1 where they are left out",
        )
    array[...] = rng.uniform(param.min, param.max, array.shape)


def fill_gaussian(array: np.ndarray, param, rng: np.random.Generator) -> None:
    """Normal with `mean` and `std`; `sparse` non-zero weights for each output on average."""
    if not param.std > 0:
        raise PrototxtError(
            f"filler 'gaussian' has std {param.std:g}; it must be positive",
            help="for equal values use the constant filler",
        )
    outputs = array.shape[0] if array.ndim else 0
    sparse = param.sparse
    if sparse != -1 and not 0 <= sparse <= outputs:
        raise PrototxtError(
            f"filler 'gaussian' has sparse {sparse}, but the blob of shape {array.shape} has"
            f" {outputs} outputs",
            help="sparse goes from 0 to the first dimension; -1 means dense",
        )
    array[...] = rng.normal(param.mean, param.std, array.shape)
    if sparse != -1:
        array *= rng.random(array.shape) < sparse / outputs


def fill_positive_unitball(array: np.ndarray, param, rng: np.random.Generator) -> None:
    """Uniform, then scaled so that the weights of each output sum to 1."""
    _need_outputs(array, "positive_unitball")
    rows = rng.random((array.shape[0], array.size // array.shape[0]))
    array[...] = (rows / rows.sum(axis=1, keepdims=True)).reshape(array.shape)


def fill_xavier(array: np.ndarray, param, rng: np.random.Generator) -> None:
    """Uniform within +-sqrt(3 / n), n being the fan that `variance_norm` names."""
    bound = math.sqrt(3 / _fan(array, param, "xavier"))
    array[...] = rng.uniform(-bound, bound, array.shape)


def fill_msra(array: np.ndarray, param, rng: np.random.Generator) -> None:
    """Normal with variance 2 / n, n being the fan that `variance_norm` names."""
    array[...] = rng.normal(0, math.sqrt(2 / _fan(array, param, "msra")), array.shape)


def fill_bilinear(array: np.ndarray, param, rng: np.random.Generator) -> None:
    """Every plane is the bilinear kernel: for up-sampling with a grouped Deconvolution."""
    if array.ndim != 4:
        raise PrototxtError(
            f"filler 'bilinear' needs a blob of 4 axes; this one is {array.shape}",
            help="bilinear weights belong to a 2-D Deconvolution",
        )
    height, width = array.shape[2:]
    if height != width:
        raise PrototxtError(
            f"filler 'bilinear' needs a square kernel; this one is {height} x {width}",
            help="use kernel_size instead of kernel_h and kernel_w",
        )
    factor = math.ceil(width / 2)
    centre = (width - 1) / (2 * factor)
    line = 1 - np.abs(np.arange(width) / factor - centre)
    array[...] = np.outer(line, line)


FILLERS: dict[str, Callable[[np.ndarray, object, np.random.Generator], None]] = {
    "constant": fill_constant,
    "uniform": fill_uniform,
    "gaussian": fill_gaussian,
    "positive_unitball": fill_positive_unitball,
    "xavier": fill_xavier,
    "msra": fill_msra,
    "bilinear": fill_bilinear,
}


def _fan(array: np.ndarray, param, name: str) -> float:
    """How many weights feed an output (FAN_IN), hang on an input (FAN_OUT), or their mean."""
    _need_outputs(array, name)
    fan_in = array.size // array.shape[0]
    fan_out = array.size // array.shape[1] if array.ndim > 1 else array.size
    if param.variance_norm == caffe_pb2.FillerParameter.AVERAGE:
        return (fan_in + fan_out) / 2
    return fan_out if param.variance_norm == caffe_pb2.FillerParameter.FAN_OUT else fan_in


def _need_outputs(array: np.ndarray, name: str) -> None:
    if array.ndim == 0:
        raise PrototxtError(
            f"filler '{name}' needs a blob with outputs and inputs; this one is {array.shape}",
            help="use the constant, uniform or gaussian filler",
        )
