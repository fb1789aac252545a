"""Printing text as Caffe does."""

import math

import numpy as np
import pytest

from caffe_spn.proto import caffe_pb2, text
from caffe_spn.proto.printer import format_float, to_text


@pytest.mark.parametrize(
    "value, printed",
    [
        (0.1, "0.1"),
        (1.0, "1"),
        (-0.0, "-0"),
        (1e-8, "1e-08"),
        (1e10, "1e+10"),
        (123456.0, "123456"),
        (1234567.0, "1234567"),
        (1 / 3, "0.333333343"),
        (16777216.0, "16777216"),
        (np.finfo(np.float32).max, "3.40282347e+38"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
    ],
)
def test_single(value, printed):
    assert format_float(float(np.float32(value))) == printed


def test_double():
    assert format_float(0.1, single=False) == "0.1"
    assert format_float(1 / 3, single=False) == "0.33333333333333331"


def test_every_kind_of_field():
    net = caffe_pb2.NetParameter(name='a "b"\n\té', force_backward=True, input_dim=[1, -2])
    layer = net.layer.add(loss_weight=[0.5])
    layer.pooling_param.pool = caffe_pb2.PoolingParameter.AVE
    layer.blobs.add(double_data=[0.1]).shape.SetInParent()
    assert to_text(net) == (
        'name: "a \\"b\\"\\n\\t\\303\\251"\ninput_dim: 1\ninput_dim: -2\nforce_backward: true\n'
        "layer {\n  loss_weight: 0.5\n  blobs {\n    shape {\n    }\n    double_data: 0.1\n  }\n"
        "  pooling_param {\n    pool: AVE\n  }\n}\n"
    )
    assert text.parse(to_text(net), caffe_pb2.NetParameter()) == net
