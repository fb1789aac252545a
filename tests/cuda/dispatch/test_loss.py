"""The loss is read where it is computed."""

import pytest

import caffe_spn
from caffe_spn import Net
from caffe_spn.proto import caffe_pb2, text
from tests.cuda.dispatch.nets import VALUES, copies, net


def loss_net(weights=(1, 3)):
    """Losses that are computed on the device: means over everything, doubled."""
    definition = "layer { name: 'in' type: 'Input' top: 'b0' input_param { shape { dim: 1 } } }"
    for i, weight in enumerate(weights):
        definition += f"""
            layer {{ name: 'loss{i}' type: 'OnBoth' bottom: 'b0' top: 'loss{i}'
                     loss_weight: {weight} }}
        """
    return Net(text.parse(definition, caffe_pb2.NetParameter()), caffe_spn.TRAIN)


@pytest.mark.parametrize("weights", [(1,), (1, 3), (0.5, 0, 2)])
@pytest.mark.parametrize("how", ["forward_loss", "forward_backward"])
def test_the_loss_is_read_where_it_is_computed(mode, weights, how):
    made = loss_net(weights)
    made.blobs["b0"].data[...] = 5
    before = copies(mode)
    for _ in range(2):
        assert getattr(made, how)() == 10 * sum(weights)
    uploads, downloads = copies(mode)
    assert downloads == before[1] + 2 * sum(w > 0 for w in weights), "numbers, not arrays"
    made.blobs["b0"].data[...] = 6
    assert getattr(made, how)() == 12 * sum(weights)
    assert mode.uploads == uploads + 1, "the diffs, which hold the weights, went up before"


def test_more_losses_than_there_was_room_for(mode):
    made = loss_net(range(1, 21))
    made.blobs["b0"].data[...] = 1
    assert made.forward_loss() == 2 * sum(range(1, 21))
    assert made.forward_loss(end=2) == 2, "input, split and the first loss"


def test_a_loss_of_many_elements(mode):
    made = net("OnBoth", loss_weight=0.5)
    made.blobs["b0"].data[...] = VALUES
    assert made.forward_loss() == VALUES.sum()


def test_losses_on_host_and_device(mode):
    made = net("OnHost", "OnBoth", loss_weight=1)
    made.layers[1].loss_weights = [2.0]
    made.blobs["b1"].diff.fill(2)
    made.blobs["b0"].data[...] = VALUES
    assert made.forward_loss() == 2 * 2 * VALUES.sum() + 4 * VALUES.sum()
