"""An error on the GPU names the layer, and the place in its file."""

import pytest

import caffe_spn
from caffe_spn import DeviceError, Net
from caffe_spn.cuda.device.driver import OutOfDeviceMemory
from tests.cuda.dispatch.nets import VALUES, net


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
