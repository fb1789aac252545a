"""Which path a layer takes in GPU mode, alone and in a net, and what is copied for that."""

import logging

import numpy as np
import pytest

import caffe_spn
from caffe_spn import DeviceError, Layer, Net, gpu_layer, layer, register
from caffe_spn.cuda.device.driver import OutOfDeviceMemory
from caffe_spn.layer import create_layer
from caffe_spn.proto import caffe_pb2, text


@pytest.fixture
def mode(gpu, monkeypatch):
    """GPU mode, with nothing said yet about layers without a GPU path."""
    monkeypatch.setattr(gpu_layer, "_said_on_host", set())
    caffe_spn.set_mode_gpu()
    return gpu


@pytest.fixture(autouse=True)
def types(monkeypatch):
    """Three layer types, that live as long as the test."""
    caffe_spn.layer_type_list()
    monkeypatch.setattr(layer, "_registry", dict(layer._registry))

    @register("OnHost")
    class OnHost(Layer):
        def reshape(self, bottom, top):
            top[0].reshape_like(bottom[0])

        def forward_cpu(self, bottom, top):
            top[0].data[...] = 2 * bottom[0].data

        def backward_cpu(self, top, propagate_down, bottom):
            bottom[0].diff[...] = 2 * top[0].diff

    @register("OnBoth")
    class OnBoth(OnHost):
        ran = ()

        def forward_gpu(self, bottom, top):
            self.ran = (*self.ran, "forward")
            double(bottom[0].gpu_data, top[0].new_gpu_data)

        def backward_gpu(self, top, propagate_down, bottom):
            self.ran = (*self.ran, "backward")
            double(top[0].gpu_diff, bottom[0].new_gpu_diff)

    @register("ForwardOnly")
    class ForwardOnly(OnHost):
        forward_gpu = OnBoth.forward_gpu
        ran = ()


def double(source, target):
    """Stands for a kernel."""
    from caffe_spn.cuda.runtime import runtime

    values = np.empty(source.shape, np.float32)
    runtime().driver.to_host(values, source.address)
    runtime().driver.to_device(target.address, 2 * values)


class Addition(Layer):
    """A layer as people write it for pycaffe."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data + 1

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom[0].diff[...] = top[0].diff


def net(*types, loss_weight=0, dtype=np.float32):
    """A chain of layers of these types, blobs b0, b1, ..., on an input of shape (2, 3)."""
    definition = """
        force_backward: true
        layer { name: 'in' type: 'Input' top: 'b0' input_param { shape { dim: 2 dim: 3 } } }
    """
    for i, kind in enumerate(types):
        python = f"python_param {{ module: '{__name__}' layer: 'Addition' }}"
        definition += f"""
            layer {{ name: 'l{i}' type: '{kind}' bottom: 'b{i}' top: 'b{i + 1}'
                    {python if kind == "Python" else ""}
                    {f"loss_weight: {loss_weight}" if i == len(types) - 1 else ""} }}
        """
    return Net(text.parse(definition, caffe_pb2.NetParameter()), caffe_spn.TRAIN, dtype=dtype)


def copies(gpu):
    return gpu.uploads, gpu.downloads


VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def run(made):
    """Forward, and backward from a diff of ones; the last top and the first diff."""
    last = made.outputs[0]
    top = made.forward(b0=VALUES)[last].copy()
    return top, made.backward(**{last: np.ones((2, 3))})["b0"].copy()


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


# The loss


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


# Work space, parameters


def layer_of(kind):
    return create_layer(text.parse(f"name: 'l' type: '{kind}'", caffe_pb2.LayerParameter()))


def test_a_layers_workspace_is_kept_and_grows(mode):
    made = layer_of("OnBoth")
    first = made.gpu_workspace("a", (4, 5))
    assert first.shape == (4, 5) and first.dtype == np.float32
    assert made.gpu_workspace("a", (2, 3)).address == first.address
    assert made.gpu_workspace("b", (4, 5)).address != first.address
    large = made.gpu_workspace("a", (1000,), np.uint8)
    assert large.shape == (1000,) and large.dtype == np.uint8
    assert made.gpu_workspace("a", (999,), np.uint8).address == large.address


def test_params_diffs_are_cleared_where_they_are(mode):
    made = Net(
        text.parse(
            """
            layer { name: 'p' type: 'Parameter' top: 'p'
                    parameter_param { shape { dim: 6 } } }
            layer { name: 'twice' type: 'OnBoth' bottom: 'p' top: 'q' }
            """,
            caffe_pb2.NetParameter(),
        ),
        caffe_spn.TRAIN,
    )
    diff = made.params["p"][0].mutable_gpu_diff
    made.clear_param_diffs()  # the first time a table of what is there goes up
    mode.driver.to_device(diff.address, np.ones(6, np.float32))
    before = copies(mode)
    made.clear_param_diffs()
    assert copies(mode) == before
    assert not made.params["p"][0].diff.any()


def test_saving_takes_the_newest_weights_and_leaves_them_on_the_device(mode, tmp_path):
    definition = text.parse(
        "layer { name: 'p' type: 'Parameter' top: 'p' parameter_param { shape { dim: 6 } } }",
        caffe_pb2.NetParameter(),
    )
    made, other = Net(definition, caffe_spn.TRAIN), Net(definition, caffe_spn.TRAIN)
    weights = made.params["p"][0]
    mode.driver.to_device(weights.new_gpu_data.address, np.arange(6, dtype=np.float32))
    made.save(tmp_path / "w.caffemodel")
    made.save_hdf5(tmp_path / "w.h5")
    for load, name in ((other.copy_from, "w.caffemodel"), (other.load_hdf5, "w.h5")):
        other.params["p"][0].data[...] = 0
        load(str(tmp_path / name))
        assert other.params["p"][0].data.tolist() == list(range(6))
    before = mode.uploads
    weights.gpu_data  # noqa: B018
    assert mode.uploads == before
    other.params["p"][0].gpu_data  # noqa: B018
    made.share_with(other)
    other.params["p"][0].data[...] = 7
    assert (made.params["p"][0].data == 7).all()


# Errors


def test_without_memory_the_layer_and_what_to_change_are_named(mode, tmp_path):
    source = tmp_path / "net.prototxt"
    source.write_text(
        "layer { name: 'in' type: 'Input' top: 'x'\n"
        "  input_param { shape { dim: 1000 dim: 1000 } } }\n"
        "layer { name: 'large' type: 'OnBoth' bottom: 'x' top: 'y' }\n"
    )
    made = Net(str(source), caffe_spn.TEST)
    mode.driver.memory.total = 6_000_000
    with pytest.raises(OutOfDeviceMemory) as raised:
        made.forward()
    message = str(raised.value)
    assert f"{source}:3: layer 'large' (OnBoth)" in message
    assert "4.0 MB were asked for" in message
    assert "help: use a smaller batch" in message


def test_any_error_of_a_gpu_path_names_its_layer(mode, monkeypatch):
    made = net("OnBoth")

    def fails(*_):
        raise DeviceError("it failed", help="try again")

    monkeypatch.setattr(type(made.layers[1]), "backward_gpu", fails)
    made.forward(b0=VALUES)
    with pytest.raises(DeviceError, match=r"layer 'l0' \(OnBoth\)\n  it failed\n  help: try"):
        made.backward(b1=VALUES)


@pytest.mark.parametrize("how", ["forward_loss", "forward_backward"])
def test_a_fault_that_only_the_device_sees_names_its_place(mode, tmp_path, how):
    source = tmp_path / "net.prototxt"
    source.write_text(
        "layer { name: 'in' type: 'Input' top: 'x' top: 'label'\n"
        "  input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } } }\n"
        "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'x' bottom: 'label' }\n"
    )
    made = Net(str(source), caffe_spn.TRAIN)
    made.blobs["label"].data[...] = [1, 3]
    with pytest.raises(caffe_spn.DataError) as raised:
        getattr(made, how)()
    assert f"{source}:3: layer 'loss' (SoftmaxWithLoss)" in str(raised.value)
    assert "label 3 at (1,)" in str(raised.value)
