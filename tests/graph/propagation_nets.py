"""Nets with spatial propagation, for the tests of fuse and expand."""

from __future__ import annotations

import numpy as np

import caffe_spn as caffe
from caffe_spn.proto import caffe_pb2, text

CONNECTIONS = ("THREE_WAY", "ONE_WAY")
NORMALIZATIONS = ("SUM_ABS", "CLIP", "NONE")
INTEGRATIONS = ("MAX", "SUM", "MEAN")


def parse(definition: str):
    return text.parse(definition, caffe_pb2.NetParameter(), "<net>")


def read(name: str):
    from tests.golden_cases import FOLDER

    return text.read(FOLDER / f"{name}.prototxt", caffe_pb2.NetParameter)


def fused_net(shape, connection="THREE_WAY", normalization="SUM_ABS", integration="MAX", units=1):
    """x and g into one SpatialPropagation layer named 'spn' with the top 'h'."""
    N, C, H, W = shape
    channels = (12 if connection == "THREE_WAY" else 4) * C
    return parse(f"""
        name: "net" force_backward: true
        layer {{ name: "x" type: "Input" top: "x" input_param {{
          shape {{ dim: {N} dim: {C} dim: {H} dim: {W} }} }} }}
        layer {{ name: "g" type: "Input" top: "g" input_param {{
          shape {{ dim: {N} dim: {channels} dim: {H} dim: {W} }} }} }}
        layer {{ name: "spn" type: "SpatialPropagation" bottom: "x" bottom: "g" top: "h"
          spatial_propagation_param {{ connection: {connection} normalization: {normalization}
            integration: {integration} units: {units} }} }}""")


def types(param) -> list[str]:
    return [layer.type for layer in param.layer]


def assert_same_numbers(one, other, top: str, seed=0):
    """Assert that two nets with the inputs x and g agree forward and backward."""
    results = []
    for param in (one, other):
        net = caffe.Net(param, caffe.TRAIN)
        rng = np.random.default_rng(seed)
        x, g = net.blobs["x"], net.blobs["g"]
        x.data[...] = rng.standard_normal(x.shape)
        # No gate close to 0, where the division multiplies rounding errors.
        gates = 0.4 * rng.standard_normal(g.shape)
        g.data[...] = np.copysign(np.abs(gates) + 0.05, gates)
        net.forward()
        net.blobs[top].diff[...] = rng.standard_normal(net.blobs[top].shape)
        net.backward()
        results.append((net.blobs[top].data.copy(), x.diff.copy(), g.diff.copy()))
    for a, b, atol in zip(*results, (1e-5, 1e-4, 2e-4), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=atol)
