"""Draw a network as a graph of layers and blobs, with pydot and Graphviz.

Source: `python/caffe/draw.py` of BVLC Caffe, whose names, arguments, labels and colours these keep.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from caffe_spn.errors import CaffeSpnError, PrototxtError
from caffe_spn.graph.upgrade import upgrade
from caffe_spn.proto import caffe_pb2

LAYER_STYLE_DEFAULT = {"shape": "record", "fillcolor": "#6495ED", "style": "filled"}
NEURON_LAYER_STYLE = {"shape": "record", "fillcolor": "#90EE90", "style": "filled"}
BLOB_STYLE = {"shape": "octagon", "fillcolor": "#E0E0E0", "style": "filled"}

_COLORS = {
    "Convolution": "#FF5050",
    "Deconvolution": "#FF5050",
    "Pooling": "#FF9900",
    "InnerProduct": "#CC33FF",
}
_WITH_LR_MULT = ("Convolution", "Deconvolution", "InnerProduct")
# DOT itself, which is written without Graphviz; it would lay out "dot".
_SOURCE_FORMATS = ("gv", "raw")


def get_pooling_types_dict() -> dict[int, str]:
    """The names of the pooling methods by their numbers."""
    return {number: name for name, number in caffe_pb2.PoolingParameter.PoolMethod.items()}


def get_edge_label(layer) -> str:
    """What to write at the edges to a layer's tops: batch size, number of outputs, or ``""``."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    if layer.type == "InnerProduct":
        return str(layer.inner_product_param.num_output)
    return '""'


def get_layer_lr_mult(layer) -> tuple[float, float]:
    """The learning-rate multipliers of a layer's weights and biases.

    Raises
    ------
    ValueError
        If it is no Convolution, Deconvolution or InnerProduct, or names more than two parameters.
    """
    if layer.type not in _WITH_LR_MULT:
        raise ValueError(f"{layer.type} layers do not have a learning rate multiplier")
    if len(layer.param) > 2:
        raise ValueError("Could not parse the learning rate multiplier")
    weights, biases = [*(param.lr_mult for param in layer.param), 1.0, 1.0][:2]
    return weights, biases


def get_layer_label(layer, rankdir: str, display_lrm: bool = False) -> str:
    """A layer's name, type and settings, in double quotes.

    Parameters
    ----------
    layer : LayerParameter
    rankdir : str
        The direction of the graph; where it is vertical, words stand side by side.
    display_lrm : bool, default False
        Add the learning-rate multipliers.
    """
    separator = " " if rankdir in ("TB", "BT") else r"\n"
    kind = layer.type
    if kind == "Pooling":
        kind += " " + get_pooling_types_dict()[layer.pooling_param.pool]
    words = [_escaped(layer.name), f"({kind})"]
    if layer.type in ("Convolution", "Deconvolution", "Pooling"):
        words += _window(layer)
    if display_lrm and layer.type in _WITH_LR_MULT:
        weights, biases = get_layer_lr_mult(layer)
        if weights or biases:
            words.append(f"lr mult: {weights:.1f}, {biases:.1f}")
    return f'"{separator.join(words)}"'


def _escaped(name: str) -> str:
    """A name without the characters that divide a record or end a label."""
    return "".join("\\" + letter if letter in '"\\{}|<>' else letter for letter in name)


def _window(layer) -> list[str]:
    param = layer.pooling_param if layer.type == "Pooling" else layer.convolution_param
    if layer.type == "Pooling" and param.global_pooling:
        return ["kernel size: global"]
    return [
        "kernel size: " + extent_text(window_extents(param, "kernel") or [1]),
        "stride: " + extent_text(window_extents(param, "stride") or [1]),
        "pad: " + extent_text(window_extents(param, "pad") or [0]),
    ]


def window_extents(param, name: str) -> list[int]:
    """The kernel, stride or pad that a ConvolutionParameter or PoolingParameter names, by axis."""
    if param.HasField(f"{name}_h") or param.HasField(f"{name}_w"):
        return [getattr(param, f"{name}_h"), getattr(param, f"{name}_w")]
    values = getattr(param, "kernel_size" if name == "kernel" else name)
    return [values] if isinstance(values, int) else list(values)


def extent_text(values: Sequence[int]) -> str:
    """One number where all axes have the same, otherwise one for each: 3x5."""
    return str(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))


def choose_color_by_layertype(layertype: str) -> str:
    """The colour of a layer's box, such as ``#FF5050``."""
    return _COLORS.get(layertype, LAYER_STYLE_DEFAULT["fillcolor"])


def get_pydot_graph(
    caffe_net,
    rankdir: str,
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
):
    """The graph of a network.

    Parameters
    ----------
    caffe_net : NetParameter
    rankdir : str
        Its direction: LR, RL, TB or BT.
    label_edges : bool, default True
        Write at edges what `get_edge_label` gives.
    phase : int, optional
        Leave out layers whose rules exclude the phase; by default all are drawn.
    display_lrm : bool, default False
        Show learning-rate multipliers.

    Returns
    -------
    pydot.Dot

    Raises
    ------
    CaffeSpnError
        If pydot is not installed.
    """
    pydot = _pydot()
    if caffe_net.layers and not caffe_net.layer:
        # An older generation; pycaffe draws nothing of it.
        caffe_net, _ = upgrade(caffe_net)
    graph = pydot.Dot(caffe_net.name or "Net", graph_type="digraph", rankdir=rankdir)
    layers = [layer for layer in caffe_net.layer if phase is None or _is_in_phase(layer, phase)]
    nodes, edges = {}, []
    for layer in layers:
        node = f"{layer.name}_{layer.type}"
        style = {**LAYER_STYLE_DEFAULT, "fillcolor": choose_color_by_layertype(layer.type)}
        if len(layer.bottom) == 1 and list(layer.bottom) == list(layer.top):
            style = NEURON_LAYER_STYLE
        nodes[node] = pydot.Node(get_layer_label(layer, rankdir, display_lrm), **style)
        label = get_edge_label(layer) if label_edges else '""'
        edges += [(_blob_node(blob), node, '""') for blob in layer.bottom]
        edges += [(node, _blob_node(blob), label) for blob in layer.top]
    read = {blob for layer in layers for blob in layer.bottom if blob not in layer.top}
    for blob in dict.fromkeys(b for layer in layers for b in [*layer.bottom, *layer.top]):
        # What no layer reads, the net's outputs, is a plain ellipse.
        quoted = f'"{_escaped(blob)}"'
        nodes[_blob_node(blob)] = pydot.Node(quoted, **(BLOB_STYLE if blob in read else {}))
    for node in nodes.values():
        graph.add_node(node)
    for source, target, label in edges:
        graph.add_edge(pydot.Edge(nodes[source], nodes[target], label=label))
    return graph


def _blob_node(blob: str) -> str:
    return f"{blob}_blob"


def _is_in_phase(layer, phase: int) -> bool:
    """Whether a layer can be there in a phase; as in pycaffe, levels and stages do not count."""
    if layer.include and layer.exclude:
        raise PrototxtError(
            "has include and exclude rules; a layer takes one kind of them",
            where=f"layer '{layer.name}' ({layer.type})",
        )
    if any(rule.HasField("phase") and rule.phase == phase for rule in layer.exclude):
        return False
    return not layer.include or any(
        not rule.HasField("phase") or rule.phase == phase for rule in layer.include
    )


def _pydot():
    try:
        import pydot
    except ImportError as error:
        raise CaffeSpnError(
            "drawing a network needs pydot, which is not installed",
            help="pip install 'caffe_spn[draw]', and Graphviz from graphviz.org",
        ) from error
    return pydot


def draw_net(
    caffe_net,
    rankdir: str,
    ext: str = "png",
    phase: int | None = None,
    display_lrm: bool = False,
) -> bytes:
    """Draw a network; the content of a picture file.

    Parameters
    ----------
    caffe_net, rankdir, phase, display_lrm
        As for `get_pydot_graph`.
    ext : str, default "png"
        A format of Graphviz: png, svg, pdf, ...; gv gives the graph itself, for which Graphviz need
        not be there.

    Raises
    ------
    CaffeSpnError
        If pydot or Graphviz is not installed, or Graphviz fails.
    """
    graph = get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm)
    if ext in _SOURCE_FORMATS:
        return graph.to_string().encode()
    try:
        return graph.create(format=ext)
    except OSError as error:
        raise CaffeSpnError(
            f"Graphviz cannot be run: {error.strerror or error}",
            help="install it from graphviz.org or the system's packages (apt install graphviz), or"
            " write a .gv file, which other programs draw",
        ) from error
    except AssertionError as error:
        raise CaffeSpnError(
            f"Graphviz could not draw the network as '{ext}'", help="png, svg and pdf are usual"
        ) from error


def draw_net_to_file(
    caffe_net,
    filename: str | os.PathLike,
    rankdir: str = "LR",
    phase: int | None = None,
    display_lrm: bool = False,
) -> None:
    """Draw a network into a file, whose extension says the format; see `draw_net`."""
    filename = os.fspath(filename)
    ext = filename.rpartition(".")[2].lower()
    picture = draw_net(caffe_net, rankdir, ext, phase, display_lrm)
    with open(filename, "wb") as file:
        file.write(picture)
