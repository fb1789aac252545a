"""Arrays on the device taken from other libraries.

The device of these tests is the host's memory, so that no other library needs a GPU.
"""

import gc

import numpy as np
import pytest

from caffe_spn import Blob
from caffe_spn.cuda import dlpack
from caffe_spn.cuda.interop import as_device_array
from caffe_spn.errors import DeviceError, ShapeError
from tests.cuda.emulation.arrays import to_device, to_host
from tests.cuda.host_driver import HostDriver, opened

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def gpu():
    with opened(HostDriver()) as gpu:
        yield gpu


@pytest.fixture
def array(gpu):
    return to_device(gpu, VALUES)


class Tensor:
    """Another library's array, which speaks DLPack."""

    def __init__(self, array, place=(dlpack.CUDA, 0), flags=0, versions=True):
        self.array, self.place, self.flags, self.versions = array, place, flags, versions
        self.asked = []

    def __dlpack_device__(self):
        return self.place

    def __dlpack__(self, **options):
        if "max_version" in options and not self.versions:
            raise TypeError("unexpected keyword argument 'max_version'")
        self.asked.append(options)
        return dlpack.to_capsule(self.array, self.place[1], self.versions, self.flags)


class CudaArray:
    """Another library's array, which has the CUDA array interface only."""

    def __init__(self, array, **facts):
        self.array = array
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": "<f4",
            "data": (array.address, False),
            "version": 3,
        } | facts


@pytest.mark.parametrize("versions", [False, True])
def test_a_tensor_is_taken_as_it_is(gpu, array, versions):
    tensor = Tensor(array, versions=versions)
    found = as_device_array(tensor)
    assert (found.address, found.shape, found.dtype) == (array.address, (2, 3), np.float32)
    assert tensor.asked[-1]["stream"] == gpu.stream.handle
    part = found.part(3, (3,))
    del found
    assert dlpack._handed_out, "a part keeps the tensor alive"
    del part
    assert not dlpack._handed_out
    assert gpu.driver.called("synchronize"), "what is enqueued may still use the memory"


def test_the_cuda_array_interface_is_taken(gpu, array):
    other = CudaArray(array, strides=(12, 4), stream=1)
    found = as_device_array(other)
    assert (found.address, found.shape, found.dtype) == (array.address, (2, 3), np.float32)
    assert not gpu.driver.called("synchronize")
    as_device_array(CudaArray(array, stream=12345))
    assert gpu.driver.called("synchronize"), "a stream that is not known has to be waited for"


def test_ones_and_nothing_are_contiguous_with_any_strides(gpu):
    for shape, strides in [((1, 3), (400, 4)), ((0, 3), (1, 1)), ((2, 1), (4, 99))]:
        other = CudaArray(gpu.array(shape), strides=strides)
        assert as_device_array(other).shape == shape


def message(raised) -> str:
    return f"{raised.value.message}\n{raised.value.help}"


def test_a_transposed_array(array):
    with pytest.raises(ShapeError) as raised:
        as_device_array(CudaArray(array, shape=(3, 2), strides=(4, 12)))
    assert "shape (3, 2) has the strides (4, 12); it must be C-contiguous" in message(raised)
    assert "tensor.contiguous()" in message(raised)


def test_a_type_that_numpy_does_not_have(array, monkeypatch):
    monkeypatch.setitem(dlpack._CODES, "f", 4)  # bfloat16's
    with pytest.raises(ShapeError) as raised:
        as_device_array(Tensor(array))
    assert "Tensor cannot be taken: DLPack type 4 of 32 bits has no NumPy type" in message(raised)


def test_a_masked_array(array):
    with pytest.raises(ShapeError, match="is masked"):
        as_device_array(CudaArray(array, mask=array))


def test_a_tensor_in_main_memory(array):
    with pytest.raises(DeviceError) as raised:
        as_device_array(Tensor(array, place=(dlpack.CPU, 0)))
    assert "Tensor is in main memory" in message(raised)
    assert "blob.data[...] = array" in message(raised)


def test_arrays_of_the_libraries_themselves_in_main_memory(gpu):
    torch = pytest.importorskip("torch")
    for array in (VALUES, torch.ones(2, 3)):
        with pytest.raises(DeviceError, match="is in main memory"):
            Blob((2, 3)).copy_gpu_data(array)


def test_a_tensor_of_another_kind_of_device(array):
    with pytest.raises(DeviceError, match="DLPack's type 10; CUDA's is 2"):
        as_device_array(Tensor(array, place=(10, 0)))


def test_a_tensor_on_another_device(array):
    with pytest.raises(DeviceError) as raised:
        as_device_array(Tensor(array, place=(dlpack.CUDA, 1)))
    assert "Tensor is on device 1; device 0 is open" in message(raised)
    assert "set_device(1)" in message(raised)


def test_no_array_at_all(gpu):
    with pytest.raises(DeviceError, match=r"type builtins\.list is no array on a device"):
        as_device_array([1.0])


def test_read_only_memory_can_be_copied_but_not_shared(gpu, array):
    blob = Blob((2, 3))
    for other in (
        Tensor(array, flags=dlpack.READ_ONLY),
        CudaArray(array, data=(array.address, True)),
    ):
        with pytest.raises(DeviceError, match="is read-only and cannot be shared"):
            blob.share_gpu_data(other)
        blob.copy_gpu_data(other)
        assert blob.data.tolist() == VALUES.tolist()


# Blobs and tensors


def test_a_blob_copies_a_tensor_within_the_device(gpu, array):
    blob = Blob((2, 3))
    uploads = gpu.uploads
    blob.copy_gpu_data(Tensor(array))
    blob.copy_gpu_diff(CudaArray(array))
    assert gpu.uploads == uploads
    assert blob.data.tolist() == blob.diff.tolist() == VALUES.tolist()
    other = Blob((2, 3))
    other.copy_gpu_data(blob)
    assert other.data.tolist() == VALUES.tolist()
    blob.data[...] = 0
    assert to_host(gpu, array).tolist() == VALUES.tolist()


def test_a_blob_shares_a_tensor(gpu, array):
    blob, top = Blob((2, 3)), Blob((6,))
    top.share_data(blob)
    blob.share_gpu_data(Tensor(array))
    blob.share_gpu_diff(Tensor(array))
    assert blob.gpu_data.address == blob.gpu_diff.address == array.address
    assert blob.data.tolist() == blob.diff.tolist() == VALUES.tolist()
    assert top.data.tolist() == VALUES.ravel().tolist(), "who shares the memory shares the tensor"
    blob.data[...] = 5
    assert blob.gpu_data.address == array.address
    assert (to_host(gpu, array) == 5).all(), "the host's newer values went into the tensor"
    blob.share_gpu_data(gpu.array((2, 3)))
    blob.share_gpu_diff(gpu.array((2, 3)))
    gc.collect()
    assert not dlpack._handed_out


def test_a_blob_that_was_made_smaller_shares_a_tensor_of_its_size(gpu, array):
    blob = Blob((20,))
    blob.reshape(2, 3)
    blob.share_gpu_data(array)
    assert blob.data.tolist() == VALUES.tolist()
    blob.reshape(7)
    assert not blob.data.any(), "making it larger takes new memory"


@pytest.mark.parametrize("shape, dtype", [((3, 2), np.float32), ((2, 3), np.float64)])
def test_a_tensor_that_does_not_fit(gpu, array, shape, dtype):
    blob = Blob(shape, dtype)
    for method in (blob.share_gpu_data, blob.share_gpu_diff, blob.copy_gpu_data):
        with pytest.raises(ShapeError) as raised:
            method(array)
        assert "the array on the device is (2, 3) (float32); the blob is" in message(raised)
        assert f"{shape} ({np.dtype(dtype)})" in message(raised)
