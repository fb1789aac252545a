"""MemoryData: batches from arrays that the program hands over.

Source: `MemoryDataLayer` of BVLC Caffe, and pycaffe's `Net.set_input_arrays`.
"""

from __future__ import annotations

import warnings

import numpy as np

from caffe_spn.errors import DataError
from caffe_spn.layer import Layer, register


@register("MemoryData", bottoms=(), tops=("data", "label"))
class MemoryData(Layer):
    """Walks through arrays of data and labels, batch by batch, and begins again at their end.

    Parameters (`memory_data_param`)
    --------------------------------
    batch_size, channels, height, width : int
        The shape of the data top; all must be positive.
    transform_param : TransformationParameter
        Has no effect, as in Caffe; the layer warns.

    Tops
    ----
    data : (batch_size, channels, height, width)
    label : (batch_size, 1, 1, 1)

    Raises
    ------
    PrototxtError
        If one of the sizes is missing.
    DataError
        If forward runs before `set_input_arrays`, or the arrays do not fit.

    Examples
    --------
    ::

        layer {
          name: "data" type: "MemoryData" top: "data" top: "label"
          memory_data_param { batch_size: 8 channels: 3 height: 32 width: 32 }
        }
    """

    def setup(self, bottom, top):
        param = self.layer_param.memory_data_param
        self._shape = (param.batch_size, param.channels, param.height, param.width)
        if 0 in self._shape:
            raise self.param_error(
                f"batch_size, channels, height and width are {self._shape}; all must be positive",
                help="memory_data_param { batch_size: 1 channels: 3 height: 64 width: 64 }",
            )
        if self.layer_param.HasField("transform_param"):
            warnings.warn(
                f"{self.where}: transform_param has no effect on MemoryData's arrays, as in Caffe",
                stacklevel=2,
            )
        self._data = self._labels = None
        self._position = 0

    def reshape(self, bottom, top):
        top[0].reshape(*self._shape)
        # Caffe's label has one axis until the first forward pass; here it always has four.
        top[1].reshape(self._shape[0], 1, 1, 1)

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Take arrays to read from; they are used where they are, not copied.

        Parameters
        ----------
        data : array of float32, (N, channels, height, width)
        labels : array of float32, (N, 1, 1, 1)
            N must be a multiple of the batch size.
        """
        self._check("data", data, self._shape[1:])
        self._check("labels", labels, (1, 1, 1))
        if len(data) != len(labels):
            raise self._error(f"there are {len(data)} data and {len(labels)} labels")
        if len(data) == 0 or len(data) % self._shape[0]:
            raise self._error(
                f"there are {len(data)} data; it must be a multiple of batch_size {self._shape[0]}"
            )
        self._data, self._labels, self._position = data, labels, 0

    def forward_cpu(self, bottom, top):
        for blob, values in zip(top, self._next_batch(), strict=True):
            blob.data[...] = values

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda.device.staging import upload
        from caffe_spn.cuda.runtime import runtime

        for blob, values in zip(top, self._next_batch(), strict=True):
            upload(runtime(), blob.new_gpu_data, values)

    def _next_batch(self) -> tuple[np.ndarray, np.ndarray]:
        if self._data is None:
            raise self._error(
                "has no data yet", help="call net.set_input_arrays(data, labels) before forward"
            )
        batch = slice(self._position, self._position + self._shape[0])
        self._position = batch.stop % len(self._data)
        return self._data[batch], self._labels[batch]

    def backward_cpu(self, top, propagate_down, bottom):
        """Data has no bottoms, so there is nothing to do."""

    def _check(self, name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
        if not isinstance(array, np.ndarray) or array.dtype != np.float32:
            found = getattr(array, "dtype", type(array).__name__)
            raise self._error(f"{name} is {found}; it must be a float32 array")
        if not array.flags.c_contiguous:
            raise self._error(f"{name} must be C contiguous", help="use numpy.ascontiguousarray")
        if array.ndim != 4 or array.shape[1:] != shape:
            raise self._error(f"{name} has shape {array.shape}; it must be (N, {str(shape)[1:]}")

    def _error(self, message: str, help: str | None = None) -> DataError:
        return DataError(message, where=self.where, help=help)
