"""The device's side of a blob.

Source: `Blob::gpu_data` and `Blob::mutable_gpu_data` of BVLC Caffe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe_spn.errors import DeviceError, ShapeError
from caffe_spn.synced_memory import SyncedMemory

if TYPE_CHECKING:
    from caffe_spn.cuda.array import DeviceArray


class GpuBlob:
    """What a blob has on the device; `caffe_spn.blob.Blob` inherits it.

    Each property returns a DeviceArray of the blob's shape:

    ==================  ==========================================================================
    `gpu_data`          to read: copied up first where the host's is newer
    `mutable_gpu_data`  to read and write: the device's is the newest from then on
    `new_gpu_data`      to overwrite completely: as `mutable_gpu_data`, but nothing is copied up
    ==================  ==========================================================================

    The same with `diff`. All raise DeviceError if no device is open.
    """

    __slots__ = ()

    @property
    def gpu_data(self) -> DeviceArray:
        """The values on the device, to read."""
        return self._data_on_device(self._data.device)

    @property
    def mutable_gpu_data(self) -> DeviceArray:
        """The values on the device, to read and write."""
        return self._data_on_device(self._data.written_on_device(self._count))

    @property
    def new_gpu_data(self) -> DeviceArray:
        """The values on the device, to overwrite all of them."""
        return self._data_on_device(self._data.new_on_device(self._count))

    @property
    def gpu_diff(self) -> DeviceArray:
        """The derivatives on the device, to read."""
        return self._diff_on_device(self._diff.device)

    @property
    def mutable_gpu_diff(self) -> DeviceArray:
        """The derivatives on the device, to read and write."""
        return self._diff_on_device(self._diff.written_on_device(self._count))

    @property
    def new_gpu_diff(self) -> DeviceArray:
        """The derivatives on the device, to overwrite all of them."""
        return self._diff_on_device(self._diff.new_on_device(self._count))

    def _data_on_device(self, flat: DeviceArray) -> DeviceArray:
        view = self._gpu_data_view
        if view is None or view.address != flat.address or view.owner is not flat.owner:
            view = self._gpu_data_view = flat.part(0, self._shape)
        return view

    def _diff_on_device(self, flat: DeviceArray) -> DeviceArray:
        view = self._gpu_diff_view
        if view is None or view.address != flat.address or view.owner is not flat.owner:
            view = self._gpu_diff_view = flat.part(0, self._shape)
        return view

    # pycaffe's addresses are those of Caffe's mutable_gpu_data and mutable_gpu_diff.

    @property
    def _gpu_data_ptr(self) -> int:
        return self._address("data")

    @property
    def _gpu_diff_ptr(self) -> int:
        return self._address("diff")

    def _address(self, part: str) -> int:
        try:
            return getattr(self, f"mutable_gpu_{part}").address
        except DeviceError as error:
            raise type(error)(
                f"the address of a blob's {part} on the GPU was asked for: {error.message}",
                help=error.help,
            ) from error

    # Arrays of other libraries

    def copy_gpu_data(self, array) -> None:
        """Copy the values from an array on the device, within the device.

        Parameters
        ----------
        array : DeviceArray, Blob, or an object with `__dlpack__` or `__cuda_array_interface__`
            Such as a tensor of PyTorch or an array of CuPy: C-contiguous, of the blob's shape
            and type.

        Raises
        ------
        ShapeError
            If the shape, the type or the layout differs.
        DeviceError
            If the array is not on the open device.
        """
        self._copy_from_device(array, "new_gpu_data")

    def copy_gpu_diff(self, array) -> None:
        """Copy the derivatives from an array on the device; see `copy_gpu_data`."""
        self._copy_from_device(array, "new_gpu_diff")

    def share_gpu_data(self, array) -> None:
        """Use the memory of another library's array for the values, without a copy.

        What the net computes into this blob is written into that memory, and what the other
        library writes there is what the net reads. Blobs that share this one's memory (the tops
        of Split, Reshape and Flatten) share the array's too. A blob that is made larger takes new
        memory of its own, as ever.

        Parameters
        ----------
        array
            As for `copy_gpu_data`. It is kept alive by the blob.
        """
        self._data = self._adopt(array, self._data)
        self._forget_views()

    def share_gpu_diff(self, array) -> None:
        """Use the memory of another library's array for the derivatives; see `share_gpu_data`."""
        self._diff = self._adopt(array, self._diff)
        self._forget_views()

    def _copy_from_device(self, array, target: str) -> None:
        from caffe_spn.cuda.runtime import runtime

        source = self._fitting(array)
        runtime().copy(getattr(self, target), source)

    def _adopt(self, array, memory: SyncedMemory) -> SyncedMemory:
        source = self._fitting(array, writable=True)
        if memory.capacity != self._count:
            memory = SyncedMemory(self._count, self._dtype)
        memory.adopt(source)
        return memory

    def _fitting(self, array, writable: bool = False) -> DeviceArray:
        from caffe_spn.cuda.interop import as_device_array

        found = as_device_array(array.gpu_data if isinstance(array, GpuBlob) else array, writable)
        if found.shape != self._shape or found.dtype != self._dtype:
            raise ShapeError(
                f"the array on the device is {found.shape} ({found.dtype}); the blob is"
                f" {self._shape} ({self._dtype})",
                help="reshape the blob, or convert the array",
            )
        return found

    # For other libraries; whoever takes the values may write.

    @property
    def __cuda_array_interface__(self) -> dict:
        try:
            return self.mutable_gpu_data.__cuda_array_interface__
        except DeviceError as error:
            # So that hasattr, by which libraries ask, says no.
            raise AttributeError(str(error)) from error

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.gpu_data.__dlpack_device__()

    def __dlpack__(self, **options):
        return self.mutable_gpu_data.__dlpack__(**options)
