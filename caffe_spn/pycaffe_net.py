"""What pycaffe's Python side adds to Net: dictionaries, keyword inputs, batches, callbacks.

Source: `pycaffe.py` of BVLC Caffe, whose names and results these methods keep.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import zip_longest

import numpy as np

from caffe_spn.vectors import IntVec, StringVec


class PycaffeNet:
    """The methods and properties of a pycaffe Net that are written in Python there."""

    # Dictionaries of what the net consists of

    @property
    def blobs(self) -> OrderedDict:
        """Blob name to Blob, in network order; writing into ``.data`` writes into the net."""
        if not hasattr(self, "_blobs_dict"):
            self._blobs_dict = OrderedDict(zip(self._blob_names, self._blobs, strict=True))
        return self._blobs_dict

    @property
    def blob_loss_weights(self) -> OrderedDict:
        """Blob name to its weight in the loss."""
        return OrderedDict(zip(self._blob_names, self._blob_loss_weights, strict=True))

    @property
    def layer_dict(self) -> OrderedDict:
        """Layer name to Layer, in network order."""
        if not hasattr(self, "_layer_dict"):
            self._layer_dict = OrderedDict(zip(self._layer_names, self.layers, strict=True))
        return self._layer_dict

    @property
    def params(self) -> OrderedDict:
        """Layer name to its parameter blobs, for layers that have any."""
        if not hasattr(self, "_params_dict"):
            self._params_dict = OrderedDict(
                (name, layer.blobs)
                for name, layer in zip(self._layer_names, self.layers, strict=True)
                if len(layer.blobs)
            )
        return self._params_dict

    @property
    def inputs(self) -> list[str]:
        """The names of the input blobs."""
        return [self._blob_names[i] for i in self._inputs]

    @property
    def outputs(self) -> list[str]:
        """The names of the blobs that no layer uses."""
        return [self._blob_names[i] for i in self._outputs]

    @property
    def top_names(self) -> OrderedDict:
        """Layer name to the names of its tops."""
        return self._names_by_layer(self.top_id_vecs)

    @property
    def bottom_names(self) -> OrderedDict:
        """Layer name to the names of its bottoms."""
        return self._names_by_layer(self.bottom_id_vecs)

    def _names_by_layer(self, ids) -> OrderedDict:
        return OrderedDict(
            (name, [self._blob_names[i] for i in blob_ids])
            for name, blob_ids in zip(self._layer_names, ids, strict=True)
        )

    # Names of pycaffe that are private, but used by scripts

    @property
    def _layer_names(self) -> StringVec:
        return self.layer_names

    @property
    def _blob_names(self) -> StringVec:
        return self.blob_names

    def _top_ids(self, layer_index: int) -> IntVec:
        return self.top_id_vecs[layer_index]

    def _bottom_ids(self, layer_index: int) -> IntVec:
        return self.bottom_id_vecs[layer_index]

    # Forward and backward

    def _forward(self, start: int, end: int) -> float:
        return self.forward_loss(start, end)

    def _backward(self, start: int, end: int) -> None:
        self.backward_pass(start, end)

    def forward(self, blobs=None, start=None, end=None, **inputs):
        """Run the net, or a part of it.

        Parameters
        ----------
        blobs : list of str, optional
            Blobs to return besides the outputs.
        start, end : str, optional
            Names of the first and the last layer to run.
        **inputs : array
            By input name; each has the first dimension of its blob. Give all or none. Arrays of
            other libraries that are on the device are copied there.

        Returns
        -------
        dict of str to array
            The outputs, or the tops of `end`, and `blobs`; views into the net.
        """
        blobs = list(blobs or ())
        first = self._layer_index(start) if start is not None else 0
        if end is not None:
            last = self._layer_index(end)
            outputs = set(self.top_names[end] + blobs)
        else:
            last = len(self.layers) - 1
            outputs = set(self.outputs + blobs)
        if inputs:
            if set(inputs) != set(self.inputs):
                raise Exception("Input blob arguments do not match net inputs.")
            self._fill(inputs, "data", "Input is not batch sized")
        self._forward(first, last)
        return {name: self.blobs[name].data for name in outputs}

    def backward(self, diffs=None, start=None, end=None, **top_diffs):
        """Run the net, or a part of it, backward.

        Parameters
        ----------
        diffs : list of str, optional
            Blobs whose diffs to return besides those of the inputs.
        start, end : str, optional
            Names of the layer to begin with and of the one to end with.
        **top_diffs : array
            Diffs of the outputs, by name. Give all or none.

        Returns
        -------
        dict of str to array
            Diffs of the inputs, or of the bottoms of `end`, and of `diffs`; views.
        """
        diffs = list(diffs or ())
        first = self._layer_index(start) if start is not None else len(self.layers) - 1
        if end is not None:
            last = self._layer_index(end)
            outputs = set(self.bottom_names[end] + diffs)
        else:
            last = 0
            outputs = set(self.inputs + diffs)
        if top_diffs:
            if set(top_diffs) != set(self.outputs):
                raise Exception("Top diff arguments do not match net outputs.")
            self._fill(top_diffs, "diff", "Diff is not batch sized")
        self._backward(first, last)
        return {name: self.blobs[name].diff for name in outputs}

    def _layer_index(self, name: str) -> int:
        return list(self._layer_names).index(name)

    def _fill(self, arrays: dict, part: str, message: str) -> None:
        for name, array in arrays.items():
            if hasattr(array, "__cuda_array_interface__"):
                getattr(self.blobs[name], f"copy_gpu_{part}")(array)
                continue
            target = getattr(self.blobs[name], part)
            if np.ndim(array) and np.shape(array)[0] != target.shape[0]:
                raise Exception(message)
            target[...] = array

    def forward_all(self, blobs=None, **inputs):
        """Run `forward` over as many batches as the inputs need, padding the last one."""
        collected = {name: [] for name in set(self.outputs + list(blobs or ()))}
        for batch in self._batch(inputs):
            for name, value in self.forward(blobs=blobs, **batch).items():
                collected[name].extend(value.copy())
        count = len(next(iter(inputs.values())))
        return {name: np.asarray(values)[:count] for name, values in collected.items()}

    def forward_backward_all(self, blobs=None, diffs=None, **inputs):
        """Run `forward` and `backward` in batches; returns (outputs, diffs)."""
        blobs, diffs = list(blobs or ()), list(diffs or ())
        all_outs = {name: [] for name in set(self.outputs + blobs)}
        all_diffs = {name: [] for name in set(self.inputs + diffs)}
        forward_batches = self._batch({k: v for k, v in inputs.items() if k in self.inputs})
        backward_batches = self._batch({k: v for k, v in inputs.items() if k in self.outputs})
        for forward_in, backward_in in zip_longest(forward_batches, backward_batches, fillvalue={}):
            for name, value in self.forward(blobs=blobs, **forward_in).items():
                all_outs[name].extend(value.copy())
            for name, value in self.backward(diffs=diffs, **backward_in).items():
                all_diffs[name].extend(value.copy())
        count = len(next(iter(inputs.values())))
        return (
            {name: np.asarray(values)[:count] for name, values in all_outs.items()},
            {name: np.asarray(values)[:count] for name, values in all_diffs.items()},
        )

    def _batch(self, arrays: dict):
        """Cut arrays into batches of the net's size; the last one is padded with zeros."""
        if not arrays:
            return
        count = len(next(iter(arrays.values())))
        # Names that are no blobs are cut to the size of the net's first blob, as in pycaffe.
        size = self.blobs.get(next(iter(arrays)), self._blobs[0]).shape[0]
        for begin in range(0, count - count % size, size):
            yield {name: array[begin : begin + size] for name, array in arrays.items()}
        remainder = count % size
        if remainder:
            padded = {}
            for name, array in arrays.items():
                rest = np.asarray(array[-remainder:])
                padding = np.zeros((size - remainder, *rest.shape[1:]), rest.dtype)
                padded[name] = np.concatenate([rest, padding])
            yield padded

    # Inputs from memory, weights, callbacks

    def set_input_arrays(self, data, labels):
        """Hand data (N, C, H, W) and labels (N) to the MemoryData layer that the net begins with.

        Both must be float32, C-contiguous and 4-D (labels may be 1-D), with N a multiple of the
        layer's batch size.
        """
        if labels.ndim == 1:
            labels = np.ascontiguousarray(labels[:, np.newaxis, np.newaxis, np.newaxis])
        return self._set_input_arrays(data, labels)

    def _set_input_arrays(self, data, labels):
        if not self.layers or not hasattr(self.layers[0], "set_input_arrays"):
            raise RuntimeError(
                "set_input_arrays may only be called if the first layer is MemoryData"
            )
        self.layers[0].set_input_arrays(data, labels)

    def copy_from(self, weights) -> None:
        """Copy parameters by layer name from a .caffemodel or .caffemodel.h5."""
        self.copy_trained_from(weights)

    def share_with(self, other) -> None:
        """Use the parameters of `other`, in the same memory, where layer names agree."""
        self.share_trained_layers_with(other)

    def save(self, path) -> None:
        """Write definition and parameters as a .caffemodel."""
        from caffe_spn import weights_io

        weights_io.write_caffemodel(path, self)

    def save_hdf5(self, path, write_diff: bool = False) -> None:
        """Write the parameters as HDF5, in the layout of Caffe's .caffemodel.h5."""
        from caffe_spn import weights_io

        weights_io.write_h5(path, self, write_diff)

    def load_hdf5(self, path) -> None:
        """Copy parameters by layer name from an HDF5 file."""
        from caffe_spn import weights_io

        weights_io.apply(self, weights_io.read_h5(path), False, str(path))

    def before_forward(self, callback) -> None:
        """Call ``callback(layer_index)`` before each layer's forward."""
        self._callbacks["before_forward"].append(callback)

    def after_forward(self, callback) -> None:
        """Call ``callback(layer_index)`` after each layer's forward."""
        self._callbacks["after_forward"].append(callback)

    def before_backward(self, callback) -> None:
        """Call ``callback(layer_index)`` before each layer's backward."""
        self._callbacks["before_backward"].append(callback)

    def after_backward(self, callback) -> None:
        """Call ``callback(layer_index)`` after each layer's backward."""
        self._callbacks["after_backward"].append(callback)
