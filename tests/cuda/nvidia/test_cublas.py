"""What is handed to cuBLAS, with a library that writes it down instead of computing."""

import ctypes
from types import SimpleNamespace

import pytest

from caffe_spn.cuda.device.driver import DeviceLost
from caffe_spn.cuda.nvidia import libraries
from caffe_spn.cuda.nvidia.cublas import Cublas
from caffe_spn.errors import DeviceError, ShapeError
from tests.cuda.recorder import Recorder

HANDLE, STREAM, WORKSPACE = 0xB1A5, 0x57, 0x7F0000F00000


def create(pointer):
    pointer.contents.value = HANDLE
    return 0


@pytest.fixture
def library():
    return Recorder(cublasCreate_v2=create)


@pytest.fixture
def opened():
    """What of a runtime is asked for."""
    freed = []
    return SimpleNamespace(
        stream=SimpleNamespace(handle=STREAM),
        enter=lambda: None,
        synchronize=lambda: None,
        device=SimpleNamespace(capability=(9, 0)),
        driver=SimpleNamespace(free=freed.append, freed=freed),
        reserve=lambda nbytes: WORKSPACE,
    )


@pytest.fixture
def cublas(library, opened):
    return Cublas(opened, library)


A, B, C = 0x7F0000000100, 0x7F0000000200, 0x7F0000000300  # addresses need more than 32 bits


def test_one_product(cublas, library):
    cublas.sgemm(True, False, 4, 5, 6, 0.5, A, 7, B, 8, 0.25, C, 9)
    assert library.last("cublasSgemm_v2") == (
        *(HANDLE, 1, 0, 4, 5, 6, 0.5, A, 7, B, 8, 0.25, C, 9),
    )


def test_many_products(cublas, library):
    steps = (0, 2**33, 50)
    cublas.sgemm(False, True, 4, 5, 6, 1, A, 4, B, 5, 0, C, 6, steps=steps, count=3)
    assert library.last("cublasSgemmStridedBatched") == (
        *(HANDLE, 0, 1, 4, 5, 6, 1.0, A, 4, 0, B, 5, 2**33, 0.0, C, 6, 50, 3),
    )


def test_the_runtimes_stream_is_set_once(cublas, library, opened):
    for _ in range(2):
        cublas.sgemm(False, False, 1, 1, 1, 1, A, 1, B, 1, 0, C, 1)
    assert library.names().count("cublasSetStream_v2") == 1
    assert library.last("cublasSetStream_v2") == (HANDLE, STREAM)
    opened.stream = SimpleNamespace(handle=99)
    cublas.sgemm(False, False, 1, 1, 1, 1, A, 1, B, 1, 0, C, 1)
    assert library.last("cublasSetStream_v2") == (HANDLE, 99)


def test_true_float32_unless_tf32_is_allowed(cublas, library, monkeypatch):
    monkeypatch.setattr(libraries, "_tf32", False)
    for allowed, mode in ((False, 0), (True, 3), (True, 3), (False, 0)):
        libraries.set_tf32(allowed)
        cublas.sgemm(False, False, 1, 1, 1, 1, A, 1, B, 1, 0, C, 1)
        assert library.last("cublasSetMathMode") == (HANDLE, mode)
    assert library.names().count("cublasSetMathMode") == 3


@pytest.mark.parametrize(("capability", "megabytes"), [((7, 5), 4), ((9, 0), 32), ((12, 0), 32)])
def test_work_space(library, opened, capability, megabytes):
    opened.device.capability = capability
    cublas = Cublas(opened, library)
    for handle in (STREAM, STREAM + 1):
        opened.stream = SimpleNamespace(handle=handle)
        cublas.sgemm(False, False, 1, 1, 1, 1, A, 1, B, 1, 0, C, 1)
        # Only after the stream: setting that takes it away.
        named = [name for name in library.names() if name.startswith("cublasSet")]
        assert named[-2 if handle > STREAM else -3 :][:2] == [
            *("cublasSetStream_v2", "cublasSetWorkspace_v2")
        ]
        wanted = (HANDLE, WORKSPACE, megabytes << 20)
        assert library.last("cublasSetWorkspace_v2") == wanted


def test_all_is_given_back_once(cublas, library, opened):
    cublas.close()
    cublas.close()
    assert opened.driver.freed == [WORKSPACE]
    assert library.names().count("cublasDestroy_v2") == 1
    assert library.last("cublasDestroy_v2") == (HANDLE,)


@pytest.mark.parametrize(
    ("status", "name"), [(3, "ALLOC_FAILED"), (13, "EXECUTION_FAILED"), (77, "unknown")]
)
def test_a_failure_has_its_name(cublas, library, status, name):
    library.answers["cublasSgemm_v2"] = status
    with pytest.raises(DeviceError, match=f"cublasSgemm_v2 failed with status {status} .{name}"):
        cublas.sgemm(False, False, 1, 1, 1, 1, A, 1, B, 1, 0, C, 1)


def test_a_device_that_is_lost(cublas, library, opened):
    def lost():
        raise DeviceLost("it was lost")

    library.answers["cublasSgemm_v2"] = 13
    opened.synchronize = lost
    with pytest.raises(DeviceLost):
        cublas.sgemm(False, False, 1, 1, 1, 1, A, 1, B, 1, 0, C, 1)


def test_a_driver_that_is_too_old(library, opened):
    library.answers["cublasCreate_v2"] = 1
    with pytest.raises(DeviceError, match=r"status 1 \(NOT_INITIALIZED\)") as error:
        Cublas(opened, library)
    assert "newer than the driver" in error.value.help
    assert opened.driver.freed == [WORKSPACE]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"m": -1}, "none may be negative"),
        ({"k": 2**31}, "more than 2147483647"),
        ({"count": 0}, "cannot multiply 0 matrices"),
        ({"steps": (0, -1, 0)}, "none may be negative"),
        ({"lda": 3}, "leading dimension of a is 3; a column of it has 4 elements"),
        ({"ldb": 5}, "leading dimension of b is 5; a column of it has 6 elements"),
        ({"ldc": 0}, "leading dimension of c is 0"),
        ({"transpose_a": True, "lda": 5}, "leading dimension of a is 5; .* 6 elements"),
        ({"transpose_b": True, "ldb": 4}, "leading dimension of b is 4; .* 5 elements"),
        ({"count": 2, "steps": (0, 0, 19)}, "results 19 elements apart overlap"),
    ],
)
def test_what_the_library_would_refuse(cublas, library, changed, message):
    arguments = {
        **{"transpose_a": False, "transpose_b": False, "m": 4, "n": 5, "k": 6, "alpha": 1.0},
        **{"a": A, "lda": 4, "b": B, "ldb": 6, "beta": 0.0, "c": C, "ldc": 4},
    }
    cublas.sgemm(**arguments)
    before = len(library.calls)
    with pytest.raises(ShapeError, match=message):
        cublas.sgemm(**{**arguments, **changed})
    assert len(library.calls) == before


def test_the_recorder_refuses_what_ctypes_refuses(cublas, library):
    with pytest.raises(ctypes.ArgumentError):
        library.cublasSgemm_v2("no handle", *range(13))
    with pytest.raises(TypeError, match="at least 14 arguments"):
        library.cublasSgemm_v2(HANDLE)


def test_the_installed_library_has_the_functions(opened):
    if libraries.find("cublas") is None:
        pytest.skip("cuBLAS is not installed")
    with pytest.raises(DeviceError, match="cublasCreate_v2 failed"):
        # Without a device; declaring its functions finds them all before.
        Cublas(opened, libraries.load("cublas")).close()
        pytest.skip("there is a device")
