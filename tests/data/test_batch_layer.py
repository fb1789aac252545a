import numpy as np
import pytest

from caffe_spn.blob import Blob
from caffe_spn.data.batch_layer import BatchLayer
from caffe_spn.proto import caffe_pb2


class Numbers(BatchLayer):
    """Batch k is the number k; it counts how often its source was opened."""

    def setup(self, bottom, top):
        self.opened = 0

        def opening(seed):
            self.opened += 1
            return lambda index: [np.array([index], np.float32)]

        self.start(opening, prefetch=0)


@pytest.fixture
def numbers():
    layer = Numbers(caffe_pb2.LayerParameter(name="n", type="Numbers"))
    layer.setup([], [])
    return layer


def batches(layer, count):
    top = Blob([1])
    return [(layer.forward_cpu([], [top]), float(top.data[0]))[1] for _ in range(count)]


def test_a_closed_layer_opens_its_source_again_only_when_it_is_asked(numbers):
    assert batches(numbers, 3) == [0, 1, 2]
    numbers.close()
    numbers.close()
    assert numbers.opened == 1
    assert numbers.state()["next_batch"] == 3
    assert batches(numbers, 2) == [3, 4]
    assert numbers.opened == 2


def test_a_state_restores_open_and_closed_layers(numbers):
    state = numbers.state()
    batches(numbers, 2)
    numbers.restore_state(state)
    assert batches(numbers, 2) == [0, 1]
    numbers.close()
    numbers.restore_state({**state, "next_batch": 7})
    assert numbers.state() == {**state, "next_batch": 7}
    assert batches(numbers, 1) == [7]
