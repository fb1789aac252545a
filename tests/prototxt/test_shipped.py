"""The shipped files: equal to their generators, and they build and run."""

from dataclasses import replace

import numpy as np
import pytest

import caffe_spn
from caffe_spn import prototxt
from caffe_spn.errors import DataError
from caffe_spn.graph.expand import expand
from caffe_spn.proto import caffe_pb2, text
from caffe_spn.prototxt.files import contents
from caffe_spn.prototxt.network import build
from caffe_spn.prototxt.shipped import FOLDER, SHIPPED
from caffe_spn.prototxt.table import table

NETWORKS = pytest.mark.parametrize("network", SHIPPED.values(), ids=SHIPPED)
REFINERS = [name for name, network in SHIPPED.items() if "coarse" in network.inputs]


def small_batches(network, source):
    """The same network on another set, with one patch at a time."""
    options = replace(network.options, source=str(source), batch=1, test_batch=1)
    return replace(network, options=options)


@NETWORKS
def test_files_are_what_the_generator_writes(network):
    folder = FOLDER / network.name
    written = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert written == contents(network)


@NETWORKS
def test_text_is_the_generated_message(network):
    for part in ("train", "test", "deploy"):
        path = FOLDER / network.name / f"{part}.prototxt"
        assert text.read(path, caffe_pb2.NetParameter) == build(network, part)


@NETWORKS
def test_deploy_keeps_height_and_width(network):
    net = caffe_spn.Net(str(FOLDER / network.name / "deploy.prototxt"), caffe_spn.TEST)
    assert net.inputs == list(network.inputs) and net.outputs == ["prob"]
    height, width = 2 * network.multiple, 3 * network.multiple
    for name in net.inputs:
        net.blobs[name].reshape(1, net.blobs[name].shape[1], height, width)
    net.reshape()
    assert net.blobs["prob"].shape == (1, network.options.classes, height, width)


@NETWORKS
@pytest.mark.parametrize("part", ["train", "test"])
def test_it_runs_on_data(network, part, tiny_set):
    param = build(small_batches(network, tiny_set), part)
    net = caffe_spn.Net(param, caffe_pb2.Phase.Value(part.upper()))
    loss = net.forward_loss()
    assert np.isfinite(loss) and loss > 0
    outputs = {"loss"} | ({"accuracy"} if part == "test" else set())
    assert set(net.outputs) == outputs | ({"boundary_loss"} if "parser" in network.name else set())
    if part == "train":
        net.clear_param_diffs()
        net.backward_pass()
        first = net.params["conv1_1" if "voc" in network.name else "conv1"][0]
        assert np.isfinite(first.diff).all() and first.diff.any()


@pytest.mark.parametrize("name", REFINERS)
def test_up_sampling_is_fixed(name):
    for layer in build(SHIPPED[name], "train").layer:
        if layer.type == "Deconvolution":
            assert [p.lr_mult for p in layer.param] == [0]
            assert layer.convolution_param.weight_filler.type == "bilinear"


@pytest.mark.parametrize("name", ["demo", "helen_spn"])
def test_one_way_twin_differs_only_in_the_propagation(name):
    three, one = (build(SHIPPED[n], "train") for n in (name, f"{name}_oneway"))
    different = [a.name for a, b in zip(three.layer, one.layer, strict=True) if a != b]
    assert different == ["guidance", "propagated"]
    gates = [
        net.layer[i].convolution_param.num_output for net in (three, one) for i in [_guidance(net)]
    ]
    assert gates[0] == 3 * gates[1]


def _guidance(net):
    return [layer.name for layer in net.layer].index("guidance")


@pytest.mark.parametrize("name", ["demo", "demo_oneway", "helen_spn"])
def test_the_form_for_the_original_fork_computes_the_same(name):
    definition = build(SHIPPED[name], "deploy")
    fused = caffe_spn.Net(definition, caffe_spn.TEST)
    fused.params["guidance"][0].data[...] *= 20
    expanded = caffe_spn.Net(expand(definition), caffe_spn.TEST)
    expanded.share_with(fused)
    rng = np.random.default_rng(0)
    inputs = {"image": rng.uniform(0, 255, (1, 3, 32, 64))}
    inputs["coarse"] = rng.dirichlet(np.ones(fused.blobs["coarse"].channels), (1, 32, 64))
    inputs["coarse"] = np.moveaxis(inputs["coarse"], 3, 1)
    for net in (fused, expanded):
        for blob, values in inputs.items():
            net.blobs[blob].reshape(*values.shape)
    wanted = fused.forward(**inputs)["prob"]
    np.testing.assert_allclose(expanded.forward(**inputs)["prob"], wanted, rtol=1e-4, atol=1e-5)
    assert not any(one.type == "SpatialPropagation" for one in expanded.layers)


def test_solvers_name_their_nets_and_snapshots():
    for name in SHIPPED:
        solver = text.read(FOLDER / name / "solver.prototxt", caffe_pb2.SolverParameter)
        assert (solver.train_net, list(solver.test_net)) == ("train.prototxt", ["test.prototxt"])
        assert solver.snapshot_prefix == f"snapshots/{name}"


def test_readme_has_the_measured_sizes():
    assert table() in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_path_finds_shipped_files():
    assert prototxt.path("demo") == FOLDER / "demo"
    assert prototxt.path("voc_spn/solver.prototxt").is_file()
    with pytest.raises(
        DataError, match=r"no shipped network is called 'helen-spn'\n  help: did you"
    ):
        prototxt.path("helen-spn")
