"""What tests of cuDNN share: a library that computes nothing, on a device that is none."""

from types import SimpleNamespace

import pytest

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.nvidia.cudnn import Cudnn
from tests.cuda.nvidia.cudnn.library import GEOMETRY, MEMORY, PASSES, SCRATCH, STREAM, Library


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CAFFE_SPN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CAFFE_SPN_CUDNN_MEASURE", raising=False)
    monkeypatch.delenv("CAFFE_SPN_TF32", raising=False)


@pytest.fixture
def library():
    return Library()


@pytest.fixture
def opened():
    """What of a runtime is asked for."""
    made = SimpleNamespace(
        stream=SimpleNamespace(handle=STREAM),
        enter=lambda: None,
        synchronize=lambda: None,
        device=SimpleNamespace(name="Some GPU", capability=(9, 0), memory=MEMORY),
        scratched=[],
    )

    def scratch(nbytes):
        made.scratched.append(nbytes)
        return DeviceArray(SCRATCH, (nbytes,), "uint8")

    made.scratch = scratch
    return made


@pytest.fixture
def cudnn(library, opened):
    return Cudnn(opened, library)


@pytest.fixture(params=PASSES)
def each(request, cudnn):
    """The name in functions, what runs it, the roles of its operands, and beta."""
    method, operands, roles, beta = PASSES[request.param]
    run = lambda: getattr(cudnn, method)(*operands, GEOMETRY)  # noqa: E731
    return SimpleNamespace(name=request.param, run=run, roles=roles, beta=beta)
