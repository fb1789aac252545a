"""How the driver's functions for CUDA graphs are called."""

import pytest

from caffe_spn.cuda.device.pycuda_graphs import Graphs
from caffe_spn.errors import DeviceError
from tests.cuda.recorder import Recorder

STREAM, GRAPH, EXECUTABLE = 0x7F0000000100, 0x7F0000000200, 0x7F0000000300


def fill(value):
    """A function that writes an address where its pointer points."""

    def function(*arguments):
        pointer = next(a for a in arguments if hasattr(a, "contents"))
        pointer.contents.value = value
        return 0

    return function


@pytest.fixture
def library():
    return Recorder(cuStreamEndCapture=fill(GRAPH), cuGraphInstantiateWithFlags=fill(EXECUTABLE))


def test_capture_and_launch(library):
    graphs = Graphs(library)
    assert graphs.usable
    graphs.begin(STREAM)
    assert graphs.end(STREAM) == EXECUTABLE
    graphs.launch(EXECUTABLE, STREAM)
    assert library.names() == [
        *("cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"),
        *("cuGraphDestroy", "cuGraphLaunch"),
    ]
    relaxed = 2
    assert library.last("cuStreamBeginCapture_v2") == (STREAM, relaxed)
    assert library.last("cuGraphInstantiateWithFlags")[1:] == (GRAPH, 0)
    assert library.last("cuGraphDestroy") == (GRAPH,)
    assert library.last("cuGraphLaunch") == (EXECUTABLE, STREAM)


def test_what_is_dropped_is_destroyed_later_and_once(library):
    graphs = Graphs(library)
    graph = graphs.end(STREAM)
    graphs.drop(graph)
    assert "cuGraphExecDestroy" not in library.names()
    assert graphs.some_dropped
    graphs.destroy_dropped()
    graphs.destroy_all()
    graphs.drop(graph)
    graphs.destroy_dropped()
    assert library.names().count("cuGraphExecDestroy") == 1
    assert not graphs.some_dropped


def test_what_is_left_is_destroyed_at_the_end(library):
    graphs = Graphs(library)
    graphs.end(STREAM)
    graphs.destroy_all()
    assert library.last("cuGraphExecDestroy") == (EXECUTABLE,)


@pytest.mark.parametrize("name", ["cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_a_capture_that_fails(name, library):
    library.answers[name] = 901
    graphs = Graphs(library)
    with pytest.raises(DeviceError, match=f"{name} failed: CUDA error 901"):
        graphs.end(STREAM)
    # The graph itself goes, where there was one.
    assert library.names().count("cuGraphDestroy") == (name != "cuStreamEndCapture")


@pytest.mark.parametrize("name", ["cuGraphInstantiateWithFlags", "cuStreamBeginCapture_v2"])
def test_an_old_driver_has_none(name, library):
    library.without.add(name)
    assert not Graphs(library).usable
