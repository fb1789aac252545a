"""Which of cuDNN's algorithms is taken."""

import ctypes
from types import SimpleNamespace

import pytest

from caffe_spn.cuda.nvidia import cudnn_choice, libraries
from caffe_spn.cuda.nvidia.cudnn import Cudnn
from caffe_spn.cuda.nvidia.cudnn_choice import Result
from caffe_spn.cuda.nvidia.cudnn_descriptors import NotSupported
from caffe_spn.errors import DeviceError
from tests.cuda.nvidia.cudnn.library import (
    ARRAYS,
    GEOMETRY,
    MEMORY,
    PASSES,
    SCRATCH,
    Library,
    W,
    X,
    Y,
    result,
)


def test_what_is_measured(each, cudnn, library, opened):
    library.proposed = [result(1, workspace=5000), result(0, workspace=300)]
    each.run()
    arguments = library.last(f"cudnnFindConvolution{each.name}AlgorithmEx")
    assert arguments[0] == cudnn.handle.value
    assert (arguments[2], arguments[4]) == tuple(ARRAYS[r].address for r in each.roles[:2])
    target, workspace, nbytes = arguments[7], arguments[11], arguments[12]
    assert nbytes == 5000
    if each.name == "BackwardFilter":
        # The weights' diff has been added to before: measuring must not write into it.
        assert target == SCRATCH
        assert workspace >= SCRATCH + W.nbytes
        assert workspace % 256 == 0
        assert opened.scratched[0] == workspace - SCRATCH + 5000
    else:
        assert (target, workspace) == (ARRAYS[each.roles[2]].address, SCRATCH)


@pytest.mark.parametrize(("gigabytes", "megabytes"), [(2, 64), (8, 256), (140, 1024)])
def test_work_space_grows_with_the_device(gigabytes, megabytes):
    device = SimpleNamespace(memory=gigabytes << 30)
    assert cudnn_choice.most_workspace(device) == megabytes << 20


def test_only_deterministic_algorithms_that_fit(each, library):
    most = 256 << 20
    library.measured = [
        result(0, deterministic=False),
        result(1, workspace=most + 1),
        result(2, status=3000),
        result(5, workspace=most),
        result(4),
    ]
    each.run()
    assert library.last(f"cudnnConvolution{each.name}")[7] == 5


def test_no_such_algorithm(each, library):
    library.proposed = [result(0, deterministic=False)]
    with pytest.raises(NotSupported, match=f"no deterministic algorithm for this {each.name}"):
        each.run()
    before = len(library.calls)
    with pytest.raises(NotSupported):
        each.run()
    assert len(library.calls) == before, "it was asked again"


def test_when_measuring_fails_little_memory_is_taken(each, library, opened):
    def no_room(nbytes):
        raise DeviceError("out of memory")

    library.proposed = [result(1, workspace=5000), result(2), result(3, workspace=7)]
    scratch, opened.scratch = opened.scratch, no_room
    each.run()
    assert library.last(f"cudnnConvolution{each.name}")[7] == 2
    # It counts for this process only.
    opened.scratch, later = scratch, Library()
    method, operands, *_ = PASSES[each.name]
    getattr(Cudnn(opened, later), method)(*operands, GEOMETRY)
    assert f"cudnnFindConvolution{each.name}AlgorithmEx" in later.names()


def test_later_processes_take_the_same(each, library, opened):
    library.measured = [result(6, workspace=64)]
    each.run()
    later = Library()
    method, operands, *_ = PASSES[each.name]
    getattr(Cudnn(opened, later), method)(*operands, GEOMETRY)
    assert later.last(f"cudnnConvolution{each.name}")[7:10] == (6, SCRATCH, 64)
    assert not any("Algorithm" in name for name in later.names())


@pytest.mark.parametrize("change", ["version", "device", "tf32"])
def test_other_circumstances_are_measured_anew(library, opened, change, monkeypatch):
    Cudnn(opened, library).forward(X, W, Y, GEOMETRY)
    monkeypatch.setattr(libraries, "_tf32", change == "tf32")
    later = Library(version=91003 if change == "version" else 91002)
    if change == "device":
        opened.device = SimpleNamespace(name="Another GPU", capability=(9, 0), memory=MEMORY)
    Cudnn(opened, later).forward(X, W, Y, GEOMETRY)
    assert "cudnnFindConvolutionForwardAlgorithmEx" in later.names()


def test_a_damaged_record_is_measured_anew(library, opened, monkeypatch):
    monkeypatch.setattr(cudnn_choice.cache, "load", lambda name: b"[1, 2")
    Cudnn(opened, library).forward(X, W, Y, GEOMETRY)
    assert "cudnnFindConvolutionForwardAlgorithmEx" in library.names()


def test_measuring_can_be_switched_off(each, library, monkeypatch):
    monkeypatch.setenv("CAFFE_SPN_CUDNN_MEASURE", "0")
    library.proposed = [result(4), result(1)]
    each.run()
    assert library.last(f"cudnnConvolution{each.name}")[7] == 4
    assert not any("Find" in name for name in library.names())


def test_a_result_is_as_large_as_in_c():
    assert ctypes.sizeof(Result) == 48
    assert Result.workspace.offset == 16
    assert Result.math.offset == 28
