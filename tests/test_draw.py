"""Pictures of networks: labels, colours, phases, every shipped and recorded definition."""

import os
import stat
import sys
from pathlib import Path

import pytest

import caffe_spn as caffe
from caffe_spn import CaffeSpnError, PrototxtError, draw
from caffe_spn.proto import caffe_pb2, text
from tests import golden_cases as golden

NET = """
name: "small"
layer { name: "data" type: "Data" top: "data" top: "label" data_param { batch_size: 32 }
  include { phase: TRAIN } }
layer { name: "data" type: "Data" top: "data" top: "label" data_param { batch_size: 5 }
  include { phase: TEST stage: "score" } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 2 }
  convolution_param { num_output: 7 kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  param { lr_mult: 0 } param { lr_mult: 0 } inner_product_param { num_output: 4 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "scored" type: "Accuracy" bottom: "ip" bottom: "label" top: "scored"
  exclude { phase: TRAIN } }
"""


@pytest.fixture
def net():
    return text.parse(NET, caffe_pb2.NetParameter())


def layer(kind, settings="", name="a"):
    return text.parse(f'name: "{name}" type: "{kind}" {settings}', caffe_pb2.LayerParameter())


def drawn(net, *arguments, **settings):
    """What is in the graph: node labels to styles, and the edges."""
    graph = draw.get_pydot_graph(net, *arguments, **settings)
    nodes = {node.get_name().strip('"'): node.get_attributes() for node in graph.get_nodes()}
    edges = [
        (e.get_source().strip('"'), e.get_destination().strip('"'), e.get_label().strip('"'))
        for e in graph.get_edges()
    ]
    return nodes, edges


# Labels


def test_pooling_types():
    assert draw.get_pooling_types_dict() == {0: "MAX", 1: "AVE", 2: "STOCHASTIC"}


def test_edge_labels(net):
    assert [draw.get_edge_label(layer) for layer in net.layer] == [
        "Batch 32",
        "Batch 5",
        "7",
        '""',
        '""',
        "4",
        '""',
        '""',
    ]


def test_learning_rates(net):
    assert draw.get_layer_lr_mult(net.layer[2]) == (2, 1)
    assert draw.get_layer_lr_mult(net.layer[5]) == (0, 0)
    assert draw.get_layer_lr_mult(layer("Deconvolution")) == (1, 1)
    with pytest.raises(ValueError, match="Pooling layers do not have a learning rate multiplier"):
        draw.get_layer_lr_mult(layer("Pooling"))
    with pytest.raises(ValueError, match="Could not parse the learning rate multiplier"):
        draw.get_layer_lr_mult(layer("Convolution", "param {} param {} param {}"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("", ["kernel size: 1", "stride: 1", "pad: 0"]),
        ("kernel_size: 3 stride: 2 pad: 1", ["kernel size: 3", "stride: 2", "pad: 1"]),
        ("kernel_size: 3 kernel_size: 3", ["kernel size: 3", "stride: 1", "pad: 0"]),
        ("kernel_h: 3 kernel_w: 5", ["kernel size: 3x5", "stride: 1", "pad: 0"]),
    ],
)
def test_labels_of_convolutions(settings, words):
    conv = layer("Convolution", f"convolution_param {{ {settings} }}")
    for direction, separator in (("LR", r"\n"), ("RL", r"\n"), ("TB", " "), ("BT", " ")):
        want = separator.join(["a", "(Convolution)", *words])
        assert draw.get_layer_label(conv, direction) == f'"{want}"'


def test_labels_of_other_layers(net):
    assert draw.get_layer_label(net.layer[3], "LR") == r'"relu\n(ReLU)"'
    pool = '"pool (Pooling AVE) kernel size: 2 stride: 2 pad: 0"'
    assert draw.get_layer_label(net.layer[4], "TB") == pool
    whole = layer("Pooling", "pooling_param { global_pooling: true }")
    assert draw.get_layer_label(whole, "TB") == '"a (Pooling MAX) kernel size: global"'
    # In a box of Graphviz these would make columns, or end the label.
    assert draw.get_layer_label(layer("ReLU", name="a|b{<"), "TB") == r'"a\|b\{\< (ReLU)"'


def test_labels_with_learning_rates(net):
    assert draw.get_layer_label(net.layer[2], "TB", True).endswith('pad: 1 lr mult: 2.0, 1.0"')
    assert draw.get_layer_label(net.layer[5], "TB", display_lrm=True) == '"ip (InnerProduct)"'
    assert "lr mult" not in draw.get_layer_label(net.layer[2], "TB")


def test_colours(net):
    assert draw.choose_color_by_layertype("Convolution") == "#FF5050"
    assert draw.choose_color_by_layertype("Pooling") == "#FF9900"
    assert draw.choose_color_by_layertype("InnerProduct") == "#CC33FF"
    assert draw.choose_color_by_layertype("ReLU") == draw.LAYER_STYLE_DEFAULT["fillcolor"]


# Graphs


def test_graph(net):
    nodes, edges = drawn(net, "TB", phase=caffe.TEST)
    conv = "conv (Convolution) kernel size: 3 stride: 2 pad: 1"
    assert ("data", conv, "") in edges
    assert (conv, "conv", "7") in edges
    assert ("data (Data)", "label", "Batch 5") in edges
    assert ("conv", "relu (ReLU)", "") in edges and ("relu (ReLU)", "conv", "") in edges
    assert nodes[conv]["fillcolor"].strip('"') == "#FF5050"
    assert nodes["relu (ReLU)"]["fillcolor"].strip('"') == "#90EE90"
    assert nodes["conv"]["shape"] == "octagon"
    # An output has no style of its own; nothing wrote into the shared ones.
    assert "shape" not in nodes["loss"]
    assert draw.LAYER_STYLE_DEFAULT["fillcolor"] == "#6495ED"


def test_edges_without_labels(net):
    _, edges = drawn(net, "TB", label_edges=False)
    assert {label for _, _, label in edges} == {""}


@pytest.mark.parametrize(
    ("phase", "batches", "scored"),
    [(None, ["Batch 32", "Batch 5"], True), (0, ["Batch 32"], False), (1, ["Batch 5"], True)],
)
def test_phases(net, phase, batches, scored):
    nodes, edges = drawn(net, "TB", phase=phase)
    assert [label for _, blob, label in edges if blob == "label" and label] == batches
    assert ("scored (Accuracy)" in nodes) == scored


def test_include_and_exclude(net):
    net.layer[-1].include.add().phase = caffe.TEST
    with pytest.raises(PrototxtError, match="layer 'scored'"):
        draw.get_pydot_graph(net, "LR", phase=caffe.TEST)


def test_older_generations_are_drawn():
    old = 'layers { name: "r" type: RELU bottom: "x" top: "y" }'
    nodes, _ = drawn(text.parse(old, caffe_pb2.NetParameter()), "TB")
    assert set(nodes) == {"r (ReLU)", "x", "y"}


SHIPPED = sorted((Path(caffe.__file__).parent.parent / "prototxt").glob("*/*.prototxt"))


def test_every_recorded_definition_is_drawn():
    refused = {case["name"] for case in golden.INDEX if case.get("expect") == "error"}
    paths = [path for path in golden.FOLDER.glob("*.prototxt") if "solver" not in path.name]
    paths = [path for path in paths if path.name.split(".")[0] not in refused]
    assert len(paths) > 300
    for path in paths:
        net = text.read(str(path), caffe_pb2.NetParameter)
        blobs = {blob for layer in net.layer for blob in layer.top}
        assert len(draw.get_pydot_graph(net, "LR").get_nodes()) >= len(blobs), path.name


@pytest.mark.parametrize("phase", [None, caffe.TRAIN, caffe.TEST])
def test_every_shipped_network_is_drawn(phase):
    for path in (path for path in SHIPPED if path.name != "solver.prototxt"):
        net = text.read(str(path), caffe_pb2.NetParameter)
        nodes, edges = drawn(net, "TB", phase=phase, display_lrm=True)
        assert len(nodes) > len(net.layer) and len(edges) > len(net.layer)


def test_odd_names_stay_in_their_quotes(net):
    net.layer[2].name, net.layer[2].top[0] = 'a: "b"', "p/q:r"
    written = draw.draw_net(net, "TB", "gv").decode()
    assert "digraph small {\nrankdir=TB;" in written
    assert r'"a: \"b\" (Convolution)' in written
    assert '-> "p/q:r"' in written


# Pictures


@pytest.fixture
def graphviz(tmp_path, monkeypatch):
    """A program `dot` that gives back its first argument and its input."""
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "if '-Tnone' in sys.argv: sys.exit(1)\n"
        "sys.stdout.write(sys.argv[1] + open(sys.argv[2]).read())\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


@pytest.mark.skipif(os.name == "nt", reason="a script is no program there")
def test_graphviz_makes_the_picture(net, graphviz, tmp_path):
    picture = draw.draw_net(net, "BT", "svg")
    assert picture.startswith(b"-Tsvgdigraph small") and b"rankdir=BT" in picture
    assert draw.draw_net(net, "LR").startswith(b"-Tpng")
    draw.draw_net_to_file(net, str(tmp_path / "net.v2.pdf"), phase=caffe.TRAIN, display_lrm=True)
    picture = (tmp_path / "net.v2.pdf").read_text()
    assert picture.startswith("-Tpdf") and "rankdir=LR" in picture
    assert "lr mult: 2.0, 1.0" in picture and "Accuracy" not in picture


@pytest.mark.skipif(os.name == "nt", reason="a script is no program there")
def test_a_format_that_graphviz_does_not_know(net, graphviz):
    with pytest.raises(CaffeSpnError, match="could not draw the network as 'none'"):
        draw.draw_net(net, "LR", "none")


def test_without_graphviz(net, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CaffeSpnError, match=r"Graphviz cannot be run[\s\S]*a \.gv file"):
        draw.draw_net(net, "LR")
    draw.draw_net_to_file(net, str(tmp_path / "net.gv"))
    assert (tmp_path / "net.gv").read_text().startswith("digraph")


def test_without_pydot(net, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydot", None)
    with pytest.raises(CaffeSpnError, match=r"needs pydot[\s\S]*caffe_spn\[draw\]"):
        draw.draw_net(net, "LR")
