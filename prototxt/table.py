"""Sizes of the shipped networks, measured by building them: the table of this folder's README.

``python -m caffe_spn.prototxt.table`` prints it; a test compares the two.
"""

from __future__ import annotations

import caffe_spn
from caffe_spn.prototxt.network import Network, build
from caffe_spn.prototxt.shipped import SHIPPED

HEAD = "| network | classes | trained parameters | of these the gates' | multiply-adds a patch |"
CONVOLUTIONS = ("Convolution", "Deconvolution")


def table() -> str:
    """A row for each shipped network, in Markdown."""
    rule = "| --- " + "| ---: " * (HEAD.count("|") - 2) + "|"
    return "\n".join([HEAD, rule, *map(_row, SHIPPED.values())])


def trained_parameters(net: caffe_spn.Net) -> int:
    """How many numbers the solver changes: not those of fixed layers, nor batch statistics."""
    return sum(
        blob.count for blob, lr in zip(net.learnable_params, net.params_lr, strict=True) if lr
    )


def multiply_adds(net: caffe_spn.Net) -> int:
    """Multiplications of all convolutions in one forward pass."""
    total = 0
    for name, layer in net.layer_dict.items():
        if layer.type in CONVOLUTIONS:
            # Each weight meets every position of the map that it is moved over.
            moved_over = net.top_names if layer.type == "Convolution" else net.bottom_names
            batch, _, height, width = net.blobs[moved_over[name][0]].shape
            total += layer.blobs[0].count * batch * height * width
    return total


def _row(network: Network) -> str:
    net = caffe_spn.Net(build(network, "deploy"), caffe_spn.TEST)
    gates = sum(blob.count for blob in net.params.get("guidance", ()))
    cells = (
        network.name,
        network.options.classes,
        f"{trained_parameters(net):,}",
        f"{gates:,}" if gates else "",
        f"{multiply_adds(net) / 1e6:,.0f} million",
    )
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    print(table())
