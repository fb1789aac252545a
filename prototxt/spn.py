"""The refinement network for HELEN: a guidance network, and the propagation that it steers.

The guidance network sees the image and gives, at half its size, the gates of every pixel. The
coarse map is turned into as many feature maps as there are gates for, propagated under them, and
brought back to full size.

Source: Liu et al., Learning Affinity via Spatial Propagation Networks, NIPS 2017, sections 4, 5.
"""

from __future__ import annotations

from dataclasses import replace

from caffe_spn import layers as L
from caffe_spn import params as P
from caffe_spn.net_spec import NetSpec, Top
from caffe_spn.prototxt.blocks import XAVIER, conv_relu, convolution, normalized_image, upsample
from caffe_spn.prototxt.network import Network, Options
from caffe_spn.prototxt.parser import SOLVER, STAGES, decode, encode

DIRECTIONS = 4
GATES = {"three-way": 3, "one-way": 1}
# Small gates at first: the map is propagated as far as training finds useful.
GATE_FILLER = dict(type="gaussian", std=0.02)

SECTIONS = {
    "input": "Guidance: pixel values to -1 ... 1",
    "conv1": "Guidance, encoder: each stage halves the map",
    "up4": "Guidance, decoder: each stage doubles the map and adds the encoder's of that size",
    "guidance": "Guidance, last layer: gates for every direction, neighbour and feature map",
    "mask": "The coarse map as features of half its size",
    "propagated": "Propagation in four directions",
    "up0": "Back to full size, and classes",
}


def add_propagation(n: NetSpec, features: Top, options: Options) -> Top:
    """Gates from guidance `features`, and the coarse map propagated under them."""
    gates = options.channels * DIRECTIONS * GATES[options.connection]
    n.guidance = convolution(features, gates, filler=GATE_FILLER)
    n.mask = L.Convolution(
        n.coarse,
        num_output=options.channels,
        kernel_size=4,
        stride=2,
        pad=1,
        weight_filler=XAVIER,
    )
    n.propagated = L.SpatialPropagation(
        n.mask,
        n.guidance,
        connection=getattr(P.SpatialPropagation, _enum(options.connection)),
        normalization=getattr(P.SpatialPropagation, _enum(options.normalization)),
        integration=P.SpatialPropagation.MAX,
        units=options.units,
    )
    return n.propagated


def _enum(word: str) -> str:
    return word.upper().replace("-", "_")


def add_head(n: NetSpec, features: Top, options: Options) -> None:
    """The published propagation head: gates, propagation, doubling, 64 features, classes."""
    n.up0 = upsample(add_propagation(n, features, options), options.channels)
    n.score = convolution(conv_relu(n, "refine", n.up0, 64), options.classes)


def one_way(network: Network) -> Network:
    """The same network with the one-way connection, a third of the gates.

    Its gates are clipped: p / |p| has no gradient, so SUM_ABS could not train them.
    """
    options = replace(network.options, connection="one-way", normalization="clip")
    return replace(
        network,
        name=f"{network.name}_oneway",
        options=options,
    )


def _scores(n: NetSpec, options: Options) -> None:
    pooled = encode(n, normalized_image(n), STAGES)
    add_head(n, decode(n, pooled, STAGES), options)


HELEN_SPN = Network(
    name="helen_spn",
    title="Spatial propagation network, {connection}, {classes} classes",
    scores=_scores,
    options=Options(classes=11, source="data/helen", batch=16, normalization="sum-abs"),
    solver=SOLVER,
    sections=SECTIONS,
)

HELEN_SPN_ONEWAY = one_way(HELEN_SPN)
