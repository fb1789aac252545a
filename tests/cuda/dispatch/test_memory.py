"""What a layer keeps on the device: its work space, and its parameters."""

import numpy as np

import caffe_spn
from caffe_spn import Net
from caffe_spn.layer import create_layer
from caffe_spn.proto import caffe_pb2, text
from tests.cuda.dispatch.nets import copies


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
