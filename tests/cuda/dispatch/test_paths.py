"""Which path a layer takes in GPU mode, alone and in a net, and what is copied for that."""

import logging

import numpy as np
import pytest

import caffe_spn
from caffe_spn import Layer, Net, register
from caffe_spn.proto import caffe_pb2, text
from tests.cuda.dispatch.nets import VALUES, copies, net, run


@pytest.mark.parametrize("kind", ["OnHost", "OnBoth", "ForwardOnly"])
def test_every_kind_of_layer_computes_the_same(mode, kind):
    made = net(kind)
    top, diff = run(made)
    np.testing.assert_array_equal(top, 2 * VALUES)
    assert (diff == 2).all()
    expected = {"OnHost": (), "OnBoth": ("forward", "backward"), "ForwardOnly": ("forward",)}
    assert getattr(made.layers[1], "ran", ()) == expected[kind]


def test_in_cpu_mode_no_layer_uses_the_gpu(gpu):
    made = net("OnBoth")
    run(made)
    assert made.layers[1].ran == () and copies(gpu) == (0, 0)


def test_float64_stays_on_the_host(mode):
    made = net("OnBoth", dtype=np.float64)
    run(made)
    assert made.layers[1].ran == () and copies(mode) == (0, 0)


def test_between_layers_on_the_device_nothing_is_copied(mode):
    made = net("OnBoth", "OnBoth", "OnBoth")
    made.blobs["b0"].data[...] = VALUES
    made.forward_loss()
    assert copies(mode) == (1, 0)
    np.testing.assert_array_equal(made.blobs["b3"].data, 8 * VALUES)
    made.blobs["b3"].diff[...] = 1
    before = copies(mode)
    made.backward_pass()
    assert copies(mode) == (before[0] + 1, before[1])
    assert (made.blobs["b0"].diff == 8).all()


def test_a_second_pass_copies_the_inputs_only(mode):
    made = net("OnBoth", "OnBoth")
    run(made)
    before = copies(mode)
    made.forward(b0=VALUES)
    assert copies(mode) == (before[0] + 1, before[1] + 1), "the input, and the output as returned"


def test_blobs_move_by_themselves_to_layers_on_the_host(mode):
    top, diff = run(net("OnBoth", "OnHost", "OnBoth", "Python", "OnBoth"))
    np.testing.assert_array_equal(top, 2 * (8 * VALUES + 1))
    assert (diff == 16).all()


def test_what_a_layer_on_the_host_only_reads_is_not_copied_up_again(mode):
    made = net("OnBoth", "OnHost")
    made.blobs["b0"].data[...] = VALUES
    made.forward_loss()
    made.blobs["b2"].diff[...] = 1
    made.backward_pass()
    before = copies(mode)
    made.blobs["b1"].gpu_data  # noqa: B018
    assert copies(mode) == before
    assert (made.blobs["b0"].diff == 4).all()


def test_what_a_layer_on_the_host_writes_in_place_is_copied_up(mode):
    definition = """
        layer { name: 'in' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 3 } } }
        layer { name: 'a' type: 'OnBoth' bottom: 'x' top: 'y' }
        layer { name: 'b' type: 'OnHost' bottom: 'y' top: 'y' }
        layer { name: 'c' type: 'OnBoth' bottom: 'y' top: 'z' }
    """
    made = Net(text.parse(definition, caffe_pb2.NetParameter()), caffe_spn.TEST)
    np.testing.assert_array_equal(made.forward(x=VALUES)["z"], 8 * VALUES)


def test_a_layer_on_the_host_is_said_once_for_each_type(mode, caplog):
    with caplog.at_level(logging.INFO, logger="caffe_spn"):
        for _ in range(2):
            run(net("OnHost", "OnHost", "ForwardOnly", "OnBoth"))
    assert [r.getMessage() for r in caplog.records] == [
        "OnHost has no GPU path (forward); it runs on the CPU",
        "ForwardOnly has no GPU path (backward); it runs on the CPU",
        "OnHost has no GPU path (backward); it runs on the CPU",
    ]


def test_of_layers_that_make_data_nothing_is_said(mode, caplog):
    @register("MakesData", bottoms=())
    class MakesData(Layer):
        def forward_cpu(self, bottom, top):
            top[0].data[...] = 3

    definition = "layer { name: 'a' type: 'MakesData' top: 'x' }"
    definition += "layer { name: 'b' type: 'OnBoth' bottom: 'x' top: 'y' }"
    made = Net(text.parse(definition, caffe_pb2.NetParameter()), caffe_spn.TEST)
    with caplog.at_level(logging.INFO, logger="caffe_spn"):
        assert made.forward()["y"] == 6
    assert not caplog.records


def test_a_net_goes_on_in_another_mode(mode):
    made = net("OnBoth", "OnBoth")
    made.blobs["b0"].data[...] = VALUES
    made.forward_loss(end=1)
    caffe_spn.set_mode_cpu()
    made.forward_loss(start=2)
    np.testing.assert_array_equal(made.blobs["b2"].cpu_data, 4 * VALUES)
    caffe_spn.set_mode_gpu()
    made.blobs["b1"].data[...] = 5
    made.forward_loss(start=2)
    assert (made.blobs["b2"].data == 10).all()
    assert made.layers[1].ran == made.layers[2].ran == ("forward",)


def test_arrays_on_the_device_are_inputs(mode):
    made = net("OnBoth")
    given = mode.array((2, 3))
    mode.driver.to_device(given.address, VALUES)
    made.forward(b0=given)
    assert mode.uploads == 0
    np.testing.assert_array_equal(made.blobs["b1"].data, 2 * VALUES)


def test_arrays_for_inputs_of_another_shape(mode):
    with pytest.raises(caffe_spn.ShapeError, match=r"is \(3, 2\).*the blob is \(2, 3\)"):
        net("OnBoth").forward(b0=mode.array((3, 2)))
