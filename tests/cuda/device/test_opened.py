"""What the opened device hands to the driver: kernels and events."""

import numpy as np
import pytest

from tests.cuda.host_driver import HostDriver, opened


@pytest.fixture
def driver():
    return HostDriver()


@pytest.fixture
def gpu(driver):
    with opened(driver) as gpu:
        yield gpu


def test_launch_passes_what_c_expects(gpu, driver):
    array = gpu.array((3,))
    for _ in range(2):
        gpu.launch("a.cu", "k", 4, (32, 2), array, None, 5, True, 0.5, np.int64(7), shared=64)
    gpu.launch("a.cu", "k", (1, 2, 3), 256, options=("-DN=2",))
    assert gpu.launches == 3
    launches = driver.called("launch")
    assert launches[0][1:4] == ("k", (4, 1, 1), (32, 2, 1))
    assert launches[0][5] == 64
    assert launches[2][1:4] == ("k", (1, 2, 3), (256, 1, 1))
    arguments = list(launches[0][4])
    types = [np.uint64, np.uint64, np.int32, np.int32, np.float32, np.int64]
    assert len(launches[2][4]) == 0
    assert [type(a) for a in arguments] == types
    assert arguments == [array.address, 0, 5, 1, 0.5, 7]
    assert [call[1:] for call in driver.called("load")] == [("a.cu", ()), ("a.cu", ("-DN=2",))]
    assert len(driver.called("function")) == 2


def test_events_order_two_streams(gpu, driver):
    event = gpu.event()
    gpu.record(event, gpu.copy_stream)
    gpu.wait(event)
    gpu.synchronize()
    gpu.synchronize(event)
    assert gpu.copy_stream is not gpu.stream
    assert driver.calls[-4:] == [
        ("record", event, gpu.copy_stream),
        ("wait", gpu.stream, event),
        ("synchronize", gpu.stream),
        ("synchronize", event),
    ]
