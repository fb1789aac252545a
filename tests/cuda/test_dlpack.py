"""Arrays on the device handed to other libraries.

PyTorch and NumPy judge the capsules, with the device's type changed to the CPU: the device of these
tests is the host's memory.
"""

import ctypes
import gc

import numpy as np
import pytest

from caffe_spn import Blob
from caffe_spn.cuda import dlpack
from caffe_spn.cuda.array import DeviceArray
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


class OnHost:
    """Gives a capsule away as if the device were the CPU."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack_device__(self):
        return dlpack.CPU, 0

    def __dlpack__(self, **options):
        return self.capsule


def test_the_cuda_array_interface(gpu, array):
    assert array.__cuda_array_interface__ == {
        "shape": (2, 3),
        "typestr": "<f4",
        "data": (array.address, False),
        "strides": None,
        "version": 3,
        "stream": gpu.stream.handle,
    }
    assert gpu.array((0, 3)).__cuda_array_interface__["data"] == (0, False)


@pytest.mark.parametrize("version", [None, (0, 8), (1, 0), (1, 3), (2, 0)])
def test_a_capsule_field_by_field(gpu, array, version):
    capsule = array.__dlpack__(stream=1, max_version=version)
    versioned = version is not None and version[0] >= 1
    name = b"dltensor_versioned" if versioned else b"dltensor"
    assert repr(capsule).startswith(f'<capsule object "{name.decode()}"')
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    words = (ctypes.c_uint64 * 12).from_address(get(capsule, name))
    if versioned:
        version_word, _, deleter, flags, *tensor = words
        assert version_word == 1 and flags == 0
    else:
        *tensor, _, deleter = words[:8]
    data, device, kind, shape, strides, offset = tensor[:6]
    assert (data, offset) == (array.address, 0)
    assert device == 2  # kDLCUDA, number 0
    assert kind.to_bytes(8, "little") == bytes([2, 0, 0, 0, 2, 32, 1, 0])  # 2-D, float, 32, 1 lane
    assert list((ctypes.c_int64 * 2).from_address(shape)) == [2, 3]
    assert list((ctypes.c_int64 * 2).from_address(strides)) == [3, 1]
    assert deleter


@pytest.mark.parametrize("version", [None, (1, 0)])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_numpy_and_pytorch_read_the_capsule(array, monkeypatch, version, library):
    module = pytest.importorskip(library)
    monkeypatch.setattr(dlpack, "CUDA", dlpack.CPU)
    try:
        found = module.from_dlpack(OnHost(array.__dlpack__(max_version=version)))
    except (RuntimeError, BufferError, ValueError) as error:
        if version:
            pytest.skip(f"this {library} knows no version 1: {error}")
        raise
    assert np.asarray(found).tolist() == VALUES.tolist()


def test_what_was_handed_out_lives_until_it_is_deleted(gpu, array, monkeypatch):
    monkeypatch.setattr(dlpack, "CUDA", dlpack.CPU)
    found = np.from_dlpack(OnHost(array.__dlpack__()))
    used = gpu.memory.in_use
    del array
    gc.collect()
    assert gpu.memory.in_use == used and found.tolist() == VALUES.tolist()
    del found
    gc.collect()
    assert not dlpack._handed_out


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_a_capsule_that_nobody_takes_is_deleted(array, version):
    array.__dlpack__(max_version=version)
    assert not dlpack._handed_out


def test_the_consumers_stream_waits(gpu, array):
    for stream in (None, 1, -1, gpu.stream.handle):
        array.__dlpack__(stream=stream)
    assert not gpu.driver.called("synchronize"), "they are ordered by CUDA, or by the consumer"
    for stream in (2, 12345):
        array.__dlpack__(stream=stream)
    assert len(gpu.driver.called("synchronize")) == 2
    with pytest.raises(ValueError, match="stream 0 is ambiguous"):
        array.__dlpack__(stream=0)


def test_a_copy_is_one(gpu, array):
    taken = dlpack.from_capsule(array.__dlpack__(copy=True, max_version=(1, 0)))
    assert taken.address != array.address
    assert to_host(gpu, DeviceArray(taken.address, (2, 3))).tolist() == VALUES.tolist()


def test_another_device_is_refused(array):
    array.__dlpack__(dl_device=(2, 0))
    with pytest.raises(BufferError, match=r"is on DLPack device \(2, 0\).* given on \(1, 0\)"):
        array.__dlpack__(dl_device=(1, 0))


def test_a_blob_gives_its_newest_data(gpu):
    blob = Blob((2, 3))
    blob.data[...] = VALUES
    assert blob.__dlpack_device__() == (dlpack.CUDA, 0)
    taken = dlpack.from_capsule(blob.__dlpack__(stream=1))
    assert to_host(gpu, DeviceArray(taken.address, taken.shape)).tolist() == VALUES.tolist()
    assert blob.__cuda_array_interface__["data"] == (taken.address, False)
    ctypes.c_float.from_address(taken.address).value = 7
    assert blob.data[0, 0] == 7, "whoever takes a blob may write into it"


def test_without_a_device_a_blob_has_no_cuda_array_interface():
    with opened(None):
        assert not hasattr(Blob((1,)), "__cuda_array_interface__")


def test_numpys_own_capsules_can_be_read():
    array = np.arange(12, dtype=np.int16).reshape(3, 4)[1:, ::2]
    taken = dlpack.from_capsule(array.__dlpack__())
    assert taken.device == (dlpack.CPU, 0) and taken.address == array.ctypes.data
    assert (taken.shape, taken.strides, taken.dtype) == ((2, 2), (4, 2), np.int16)


def test_a_capsule_is_used_once(array):
    capsule = array.__dlpack__()
    taken = dlpack.from_capsule(capsule)
    with pytest.raises(BufferError, match=r"used_dltensor.*nobody has used"):
        dlpack.from_capsule(capsule)
    assert taken.address == array.address
    with pytest.raises(BufferError, match="no DLPack capsule"):
        dlpack.from_capsule(3)
