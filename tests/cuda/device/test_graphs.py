"""Work that is captured as a CUDA graph, and what cannot be; nets: `tests.cuda.graphs`."""

import threading

import numpy as np
import pytest

from caffe_spn.cuda.device import graphs
from caffe_spn.cuda.device.feed import Feed
from caffe_spn.cuda.device.graphs import NotCaptured, Record, capture
from tests.cuda.emulation.build import EmulationError


@pytest.mark.parametrize("value, used", [("0", False), ("1", True), (None, True)])
def test_environment(value, used, monkeypatch):
    monkeypatch.setattr(graphs, "_allowed", None)
    monkeypatch.delenv("CAFFE_SPN_CUDA_GRAPHS", raising=False)
    if value is not None:
        monkeypatch.setenv("CAFFE_SPN_CUDA_GRAPHS", value)
    assert graphs.cuda_graphs() is used


@pytest.mark.parametrize("what", ["upload", "download", "event", "wait", "waiting"])
def test_what_cannot_be_captured(what, gpu):
    array, host, event = gpu.array((3,)), np.zeros(3, np.float32), gpu.event()
    calls = {
        "upload": lambda: gpu.upload(array, host),
        "download": lambda: gpu.download(host, array),
        "event": lambda: gpu.record(event),
        "wait": lambda: gpu.wait(event),
        "waiting": gpu.synchronize,
    }
    with pytest.raises(NotCaptured):
        capture(gpu, calls[what])
    # The runtime is as it was.
    calls[what]()


def test_a_feed_may_go_while_a_graph_is_captured(gpu):
    sent = Feed(gpu, 1)
    sent.send([np.ones(3, np.float32)])
    capture(gpu, sent.drop)
    assert not sent.under_way


def test_what_is_captured_is_not_done_yet(gpu):
    array, host = gpu.array((3,)), np.ones(3, np.float32)
    gpu.upload(array, host)
    launches = gpu.launches
    graph = capture(gpu, lambda: gpu.zero(array))
    gpu.download(host, array)
    assert (host == 1).all() and gpu.launches == launches
    graph.launch()
    gpu.download(host, array)
    assert (host == 0).all()


def test_another_thread_computes_while_one_captures(gpu):
    x, y = gpu.array((3,)), gpu.array((3,))
    host = np.ones(3, np.float32)

    def other():
        gpu.upload(y, host)
        gpu.zero(y)
        assert gpu.watcher is None and gpu.stream is not None

    def enqueue():
        gpu.zero(x)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    gpu.upload(x, host)
    capture(gpu, enqueue)
    gpu.download(host, y)
    assert (host == 0).all(), "done at once"
    gpu.download(host, x)
    assert (host == 1).all(), "only captured"


def test_the_emulated_driver_refuses_what_cuda_refuses(gpu, emulated_only):
    stream = gpu.driver.begin_capture()
    for call in (gpu.driver.synchronize, lambda: gpu.driver.synchronize(stream)):
        with pytest.raises(EmulationError, match="synchronize while a graph is captured"):
            call()
    with pytest.raises(EmulationError, match="the capture was invalidated by synchronize"):
        gpu.driver.end_capture(stream)


def test_records_differ_by_each_argument(gpu):
    x, y = gpu.array((3,)), gpu.array((3,))

    def record(*what):
        made = Record()
        made.enqueued(*what)
        return made

    base = record("scale", x, 3, 1.5, np.uint8(1))
    assert base.same(record("scale", x, 3, 1.5, np.uint8(1)))
    for what in [
        ("scale", y, 3, 1.5, np.uint8(1)),
        ("scale", x, 4, 1.5, np.uint8(1)),
        ("scale", x, 3, 1.25, np.uint8(1)),
        ("scale", x, 3, 1.5, np.uint8(2)),
        ("scale", x, 3, 1.5, np.int8(1)),
        ("scale", x, True, 1.5, np.uint8(1)),
    ]:
        assert not base.same(record(*what))
