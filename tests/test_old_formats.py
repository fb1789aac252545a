"""Networks, weights and solvers of each generation of the format, on every way into the package."""

import h5py
import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.proto import binary, caffe_pb2, text
from caffe_spn.proto.blobs import array_to_blob_proto
from caffe_spn.tools import main as cli

V0 = """
name: "n"
{data}
layers {{ layer {{ name: "pad" type: "padding" pad: 1 }} bottom: "x" top: "p" }}
layers {{ layer {{ name: "conv" type: "conv" num_output: 3 kernelsize: 3 blobs_lr: 1 blobs_lr: 2
                   weight_filler {{ type: "constant" value: 0.1 }} }} bottom: "p" top: "c" }}
layers {{ layer {{ name: "relu" type: "relu" }} bottom: "c" top: "c" }}
layers {{ layer {{ name: "pool" type: "pool" pool: AVE kernelsize: 2 stride: 2 }}
          bottom: "c" top: "q" }}
layers {{ layer {{ name: "ip" type: "innerproduct" num_output: 4 weight_decay: 0
                   weight_filler {{ type: "constant" value: 0.2 }} }} bottom: "q" top: "i" }}
{loss}
"""
V1 = """
name: "n"
{data}
layers {{ name: "conv" type: CONVOLUTION bottom: "x" top: "c" blobs_lr: 1 blobs_lr: 2
  convolution_param {{ num_output: 3 kernel_size: 3 pad: 1
                       weight_filler {{ type: "constant" value: 0.1 }} }} }}
layers {{ name: "relu" type: RELU bottom: "c" top: "c" }}
layers {{ name: "pool" type: POOLING bottom: "c" top: "q"
  pooling_param {{ pool: AVE kernel_size: 2 stride: 2 }} }}
layers {{ name: "ip" type: INNER_PRODUCT bottom: "q" top: "i" weight_decay: 0
  inner_product_param {{ num_output: 4 weight_filler {{ type: "constant" value: 0.2 }} }} }}
{loss}
"""
NOW = """
name: "n"
{data}
layer {{ name: "conv" type: "Convolution" bottom: "x" top: "c"
  param {{ lr_mult: 1 }} param {{ lr_mult: 2 }}
  convolution_param {{ num_output: 3 kernel_size: 3 pad: 1
                       weight_filler {{ type: "constant" value: 0.1 }} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "c" top: "c" }}
layer {{ name: "pool" type: "Pooling" bottom: "c" top: "q"
  pooling_param {{ pool: AVE kernel_size: 2 stride: 2 }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "q" top: "i" param {{ decay_mult: 0 }}
  inner_product_param {{ num_output: 4 weight_filler {{ type: "constant" value: 0.2 }} }} }}
{loss}
"""
OLD_INPUT = 'input: "x" input_dim: 1 input_dim: 2 input_dim: 6 input_dim: 6'
NEW_INPUT = (
    'layer { name: "x" type: "Input" top: "x" '
    "input_param { shape { dim: 1 dim: 2 dim: 6 dim: 6 } } }"
)
PARTS = {
    "v0": (
        V0,
        OLD_INPUT,
        'layers { layer { name: "s" type: "softmax" } bottom: "i" top: "out" }',
        'layers { layer { name: "d" type: "hdf5_data" source: "list.txt" batchsize: 2 }'
        ' top: "x" top: "t" }',
        'layers { layer { name: "s" type: "softmax_loss" } bottom: "i" bottom: "t" top: "loss" }',
    ),
    "v1": (
        V1,
        OLD_INPUT,
        'layers { name: "s" type: SOFTMAX bottom: "i" top: "out" }',
        'layers { name: "d" type: HDF5_DATA top: "x" top: "t"'
        ' hdf5_data_param { source: "list.txt" batch_size: 2 } }',
        'layers { name: "s" type: SOFTMAX_LOSS bottom: "i" bottom: "t" top: "loss" }',
    ),
    "now": (
        NOW,
        NEW_INPUT,
        'layer { name: "s" type: "Softmax" bottom: "i" top: "out" }',
        'layer { name: "d" type: "HDF5Data" top: "x" top: "t"'
        ' hdf5_data_param { source: "list.txt" batch_size: 2 } }',
        'layer { name: "s" type: "SoftmaxWithLoss" bottom: "i" bottom: "t" top: "loss" }',
    ),
}
GENERATIONS = list(PARTS)
SOLVER = 'base_lr: 0.1 lr_policy: "fixed" max_iter: 3 weight_decay: 0.1 snapshot_prefix: "s" '


def deploy(generation):
    net, source, softmax, _, _ = PARTS[generation]
    return net.format(data=source, loss=softmax)


def train(generation):
    net, _, _, data, loss = PARTS[generation]
    return net.format(data=data, loss=loss)


def arrays():
    rng = np.random.default_rng(0)
    shapes = {"conv": [(3, 2, 3, 3), (3,)], "ip": [(4, 27), (4,)]}
    return {
        name: [rng.normal(size=shape).astype(np.float32) for shape in each]
        for name, each in shapes.items()
    }


def four_axes(array):
    blob = caffe_pb2.BlobProto(data=array.ravel())
    shape = (1,) * (4 - array.ndim) + array.shape
    blob.num, blob.channels, blob.height, blob.width = shape
    return blob


def weights(generation):
    net = caffe_pb2.NetParameter(name="n")
    for name, each in arrays().items():
        if generation == "now":
            layer = net.layer.add(name=name)
            for array in each:
                array_to_blob_proto(array, out=layer.blobs.add())
        else:
            outer = net.layers.add()
            layer = outer.layer if generation == "v0" else outer
            layer.name = name
            layer.blobs.extend(four_axes(array) for array in each)
    return net


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    with h5py.File("data.h5", "w") as file:
        file["x"] = rng.normal(size=(6, 2, 6, 6)).astype(np.float32)
        file["t"] = rng.integers(0, 4, 6).astype(np.float32)
    (tmp_path / "list.txt").write_text("data.h5\n")
    for generation in GENERATIONS:
        (tmp_path / f"{generation}.prototxt").write_text(deploy(generation))
        (tmp_path / f"{generation}_train.prototxt").write_text(train(generation))
        binary.write(f"{generation}.caffemodel", weights(generation))
    return tmp_path


def output(net):
    net.blobs["x"].data[...] = np.random.default_rng(2).normal(size=(1, 2, 6, 6))
    return net.forward()["out"].copy()


@pytest.mark.parametrize("net_of", GENERATIONS)
@pytest.mark.parametrize("weights_of", GENERATIONS)
def test_net_and_weights(net_of, weights_of, folder):
    want = output(caffe.Net("now.prototxt", caffe.TEST, weights="now.caffemodel"))
    assert np.ptp(want) > 0.1
    file = f"{weights_of}.caffemodel"
    nets = [
        caffe.Net(f"{net_of}.prototxt", file, caffe.TEST),
        caffe.Net(f"{net_of}.prototxt", caffe.TEST, weights=file),
        caffe.Net(text.parse(deploy(net_of), caffe_pb2.NetParameter()), caffe.TEST),
        caffe.Net(f"{net_of}.prototxt", caffe.TEST),
    ]
    nets[2].copy_from(file)
    nets[3].copy_from(binary.read(file, caffe_pb2.NetParameter))
    for net in nets:
        np.testing.assert_array_equal(output(net), want)
    nets[0].save("saved.caffemodel")
    saved = binary.read("saved.caffemodel", caffe_pb2.NetParameter)
    assert saved.layer and not saved.layers and not saved.input


@pytest.mark.parametrize("generation", GENERATIONS)
def test_solvers(generation, folder):
    kinds = ['type: "AdaGrad"', "solver_type: ADAGRAD"]
    learned = []
    for number, kind in enumerate(kinds):
        settings = SOLVER + kind
        inline = {
            "net": f'net: "{generation}_train.prototxt"',
            "train_net": f'train_net: "{generation}_train.prototxt"',
            "net_param": f"net_param {{ {train(generation)} }}",
            "train_net_param": f"train_net_param {{ {train(generation)} }}",
        }
        for field, stated in inline.items():
            (folder / f"solver{number}.prototxt").write_text(f"{stated} {settings}")
            solver = caffe.get_solver(f"solver{number}.prototxt")
            assert solver.type == "AdaGrad", field
            solver.step(3)
            learned.append(solver.net.params["conv"][0].data.copy())
            assert solver.net.params_weight_decay == [1, 1, 0, 1]
            assert solver.net.params_lr == [1, 2, 1, 1]
            solver.close()
    (folder / "solver.prototxt").write_text(f'net: "now_train.prototxt" {SOLVER} {kinds[0]}')
    solver = caffe.get_solver("solver.prototxt")
    solver.step(3)
    for array in learned:
        np.testing.assert_array_equal(array, solver.net.params["conv"][0].data)
    solver.close()


@pytest.mark.parametrize("generation", GENERATIONS)
def test_commands(generation, folder, capsys):
    net, file = f"{generation}.prototxt", f"{generation}.caffemodel"
    solver = f'net: "{generation}_train.prototxt" {SOLVER} solver_type: SGD'
    (folder / "solver.prototxt").write_text(solver)
    for words in (
        ["check", net, "--weights", file],
        ["check", "solver.prototxt"],
        ["time", "--model", net, "--weights", file, "--iterations", "1"],
        ["test", "--model", f"{generation}_train.prototxt", "--weights", file, "--iterations", "2"],
        ["train", "--solver", "solver.prototxt", "--weights", file],
        ["train", "--solver", "solver.prototxt", "--snapshot", "s_iter_3.solverstate"],
        ["summarize", net],
        ["fuse", net, "fused.prototxt"],
        ["expand", net, "expanded.prototxt"],
        ["upgrade_net_proto_text", net, "new.prototxt"],
        ["upgrade_net_proto_binary", file, "new.caffemodel"],
    ):
        assert cli.main(words) == 0, (words, capsys.readouterr())
    want = text.parse(deploy("now"), caffe_pb2.NetParameter())
    for name in ("fused", "expanded", "new"):
        written = text.read(f"{name}.prototxt", caffe_pb2.NetParameter)
        assert [layer.type for layer in written.layer] == [layer.type for layer in want.layer]
    shown = output(caffe.Net("new.prototxt", "new.caffemodel", caffe.TEST))
    np.testing.assert_array_equal(shown, output(caffe.Net(net, file, caffe.TEST)))


@pytest.mark.parametrize("generation", GENERATIONS)
def test_draw(generation, folder):
    pytest.importorskip("pydot")
    from caffe_spn import draw

    net = text.read(f"{generation}.prototxt", caffe_pb2.NetParameter)
    graph = draw.get_pydot_graph(net, "LR").to_string()
    assert "conv" in graph and "InnerProduct" in graph


@pytest.mark.parametrize("generation", GENERATIONS)
def test_images_go_through_the_classifier(generation, folder):
    classifier = caffe.Classifier(f"{generation}.prototxt", f"{generation}.caffemodel")
    image = np.random.default_rng(3).random((6, 6, 2)).astype(np.float32)
    assert classifier.predict([image], oversample=False).shape == (1, 4)
