"""What layers share that take rows by number: the numbers read, gradients put back in their rows.

Source: `EmbedLayer` and `BatchReindexLayer` of BVLC Caffe.
"""

import math

import numpy as np

from caffe_spn.errors import DataError
from caffe_spn.layer import Layer


def read_indices(layer: Layer, bottom, position: int, rows: int, kind: str):
    """The indices in a bottom, as integers.

    Parameters
    ----------
    layer : Layer
        Owns the memory of the result, and is named in the error.
    bottom : Blob
        Fractions are cut off, as in Caffe.
    position : int
        Which bottom it is.
    rows : int
        How many rows there are to choose from.
    kind : str
        What `rows` counts, for the error.

    Returns
    -------
    ndarray of intp, flat
        Valid until the next call.

    Raises
    ------
    DataError
        At the first index without a row; Caffe would read foreign memory.
    """
    values = bottom.cpu_data.reshape(-1)
    # Compared before the conversion, which makes some integer of NaN.
    valid = (values > -1) & (values < rows)
    if not valid.all():
        wrong = int(valid.argmin())
        place = tuple(map(int, np.unravel_index(wrong, bottom.shape)))
        raise DataError(
            f"index {values[wrong]:g} at {place} of bottom {position}"
            f" ('{layer.layer_param.bottom[position]}'), shape {bottom.shape}; it must be at least"
            f" 0 and less than {rows}, {kind}",
            where=layer.where,
            help="indices count from 0; correct the data",
        )
    indices = layer.workspace("indices", values.shape, np.intp)
    np.copyto(indices, values, casting="unsafe")
    return indices


def take_rows(rows, indices, out) -> None:
    """out[i] = rows[indices[i]]"""
    # The indices are known to be valid; in its other modes NumPy would buffer the output.
    np.take(rows, indices, axis=0, out=out, mode="clip")


def add_rows(rows, indices, out) -> None:
    """out[indices[i]] += rows[i] for every i; an index may occur any number of times."""
    if not indices.size:
        return
    # Sorted, the rows of one index are neighbours, which one call adds up for all indices.
    order = np.argsort(indices, kind="stable")
    ordered = indices[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    out[ordered[starts]] += np.add.reduceat(rows[order], starts, axis=0)


def on_device(layer: Layer, name: str, numbers):
    """Integers as an int32 array on the device that belongs to the layer."""
    from caffe_spn.cuda.runtime import runtime

    target = layer.gpu_workspace(name, numbers.shape, np.int32)
    runtime().upload(target, numbers.astype(np.int32))
    return target


def examples(array):
    """A DeviceArray as a matrix with a row for each example."""
    return array.reshaped(array.shape[0], math.prod(array.shape[1:]))


def put_rows(layer: Layer, rows, indices, out) -> None:
    """out = 0, then `add_rows`, on the device."""
    from caffe_spn.cuda import rows as kernels
    from caffe_spn.cuda.runtime import runtime

    runtime().zero(out)
    plan, differing = kernels.groups(indices)
    plan = on_device(layer, "plan", plan)
    kernels.add_rows(examples(rows), plan, differing, examples(out))


def refuse_gradient(layer: Layer, propagate_down, position: int, kind: str) -> None:
    """Raise if a gradient of a bottom is wanted that only selects."""
    if propagate_down[position]:
        raise layer.param_error(
            f"cannot compute a gradient for bottom {position}"
            f" ('{layer.layer_param.bottom[position]}'), the {kind}",
            help="put 'propagate_down: false' for it, or feed it from data",
        )
