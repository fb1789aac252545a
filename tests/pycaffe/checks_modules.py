"""Checks of `caffe.io`, `net_spec`, `draw`, `coord_map`, Classifier and Detector.

Each has tests of its own beside the other tests; here every name is used once.
"""

import sys
import types

import numpy as np
import pytest
from PIL import Image

import caffe_spn as caffe
from caffe_spn import coord_map, draw, net_spec
from caffe_spn import layers as L
from caffe_spn.proto import caffe_pb2
from tests.pycaffe.registry import checks_of

CHECKS = {}
io = checks_of("caffe.io", CHECKS)
transformer = checks_of("Transformer", CHECKS)
spec = checks_of("caffe.net_spec", CHECKS)
drawing = checks_of("caffe.draw", CHECKS)
classifier = checks_of("Classifier", CHECKS)
detector = checks_of("Detector", CHECKS)
coordinates = checks_of("caffe.coord_map", CHECKS)

IMAGE = np.random.default_rng(0).random((6, 8, 3)).astype(np.float32)

# The sums of the three channels over the whole input, as a net for images of 4 x 4.
SUMS = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 5 dim: 3 dim: 4 dim: 4 } } }
layer { name: "sum" type: "Pooling" bottom: "data" top: "sum"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "flat" type: "Flatten" bottom: "sum" top: "flat" }
"""


def images_net(cls, lab, **options):
    path = lab.write(SUMS)
    caffe.Net(path, caffe.TEST).save(lab.path("w"))
    return cls(path, lab.path("w"), **options)


# caffe.io


@io("array_to_blobproto", "blobproto_to_array")
def blob_protos(lab):
    blob = caffe.io.array_to_blobproto(IMAGE, IMAGE * 2)
    assert isinstance(blob, caffe_pb2.BlobProto)
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(blob), IMAGE)
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(blob, True), IMAGE * 2)
    old = caffe_pb2.BlobProto(num=1, channels=1, height=2, width=2, data=[1, 2, 3, 4])
    assert caffe.io.blobproto_to_array(old).shape == (1, 1, 2, 2)
    assert caffe.io.blobproto_to_array(caffe_pb2.BlobProto(data=[123])) == 123
    with pytest.raises(ValueError):
        caffe.io.blobproto_to_array(caffe_pb2.BlobProto(data=[1, 2]))


@io("arraylist_to_blobprotovector_str", "blobprotovector_str_to_arraylist")
def blob_vectors(lab):
    content = caffe.io.arraylist_to_blobprotovector_str([IMAGE, IMAGE[0]])
    assert isinstance(content, bytes)
    found = caffe.io.blobprotovector_str_to_arraylist(content)
    assert [a.shape for a in found] == [IMAGE.shape, IMAGE[0].shape]


@io("array_to_datum", "datum_to_array")
def datums(lab):
    pixels = (IMAGE.transpose(2, 0, 1) * 255).astype(np.uint8)
    datum = caffe.io.array_to_datum(pixels, label=3)
    assert (datum.channels, datum.height, datum.width, datum.label) == (3, 6, 8, 3)
    np.testing.assert_array_equal(caffe.io.datum_to_array(datum), pixels)
    without = caffe.io.array_to_datum(pixels)
    assert not without.HasField("label") and without.ByteSize() < datum.ByteSize()
    with pytest.raises(ValueError, match="Incorrect array shape"):
        caffe.io.array_to_datum(pixels[0])


@io("load_image", "resize_image", "oversample")
def images(lab):
    Image.fromarray((IMAGE * 255).astype(np.uint8)).save(lab.path("a.png"))
    found = caffe.io.load_image(lab.path("a.png"))
    assert (
        found.dtype == np.float32 and found.shape == (6, 8, 3) and abs(found - IMAGE).max() < 0.01
    )
    assert caffe.io.load_image(lab.path("a.png"), color=False).shape == (6, 8, 1)
    assert caffe.io.resize_image(IMAGE, (3, 4)).shape == (3, 4, 3)
    crops = caffe.io.oversample([IMAGE], (4, 4))
    assert crops.shape == (10, 4, 4, 3)
    np.testing.assert_array_equal(crops[5], crops[0][:, ::-1])


@io("Transformer")
@transformer("preprocess", "deprocess", "set_transpose", "set_channel_swap", "set_raw_scale")
@transformer("set_mean", "set_input_scale")
def transform(lab):
    made = caffe.io.Transformer({"data": (1, 3, 6, 8)})
    made.set_transpose("data", (2, 0, 1))
    made.set_channel_swap("data", (2, 1, 0))
    made.set_raw_scale("data", 255)
    made.set_mean("data", np.array([1.0, 2.0, 3.0]))
    made.set_input_scale("data", 0.5)
    found = made.preprocess("data", IMAGE)
    expected = (IMAGE.transpose(2, 0, 1)[::-1] * 255 - np.array([1, 2, 3])[:, None, None]) * 0.5
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(made.deprocess("data", found[None]), IMAGE, atol=1e-5)
    with pytest.raises(Exception, match="is not one of the net inputs"):
        made.preprocess("none", IMAGE)


# caffe.net_spec


@spec("param_name_dict")
def param_names(lab):
    assert net_spec.param_name_dict()["Convolution"] == "convolution"


@spec("assign_proto")
def assign(lab):
    param = caffe_pb2.LayerParameter()
    net_spec.assign_proto(param, "bottom", ["a", "b"])
    net_spec.assign_proto(param, "pooling_param", dict(kernel_size=3))
    net_spec.assign_proto(param, "param", [dict(lr_mult=1), dict(lr_mult=2)])
    assert list(param.bottom) == ["a", "b"] and param.pooling_param.kernel_size == 3
    assert [p.lr_mult for p in param.param] == [1, 2]
    for error in (AttributeError, ValueError):
        with pytest.raises(error, match="no field 'none'"):
            net_spec.assign_proto(param, "none", 1)


@spec("Top", "Function", "NetSpec", "Layers", "Parameters", "layers", "params", "to_proto")
def network(lab):
    assert isinstance(net_spec.layers, net_spec.Layers)
    assert isinstance(net_spec.params, net_spec.Parameters)
    assert net_spec.params.Eltwise.MAX == caffe_pb2.EltwiseParameter.MAX
    n = net_spec.NetSpec()
    n.x = net_spec.layers.Input(shape=dict(dim=[2, 3]))
    n.a, n.b = net_spec.layers.Slice(n.x, ntop=2, slice_point=1)
    n.silent = net_spec.layers.Silence(n.a, ntop=0)
    assert isinstance(n.x, net_spec.Top) and isinstance(n.silent, net_spec.Function)
    assert n.b.fn is n.a.fn and (n.a.n, n.b.n) == (0, 1)
    assert caffe.Net(n.to_proto(), caffe.TEST).outputs == ["b"]
    assert [one.type for one in net_spec.to_proto(n.a, n.b).layer] == ["Input", "Slice"]


# caffe.draw


@drawing("get_pooling_types_dict", "get_edge_label", "get_layer_lr_mult", "get_layer_label")
@drawing("choose_color_by_layertype")
def labels(lab):
    conv = caffe_pb2.LayerParameter(name="c", type="Convolution")
    conv.convolution_param.num_output = 7
    conv.convolution_param.kernel_size.append(3)
    assert draw.get_pooling_types_dict()[1] == "AVE"
    assert str(draw.get_edge_label(conv)) == "7"
    assert list(draw.get_layer_lr_mult(conv)) == [1, 1]
    label = draw.get_layer_label(conv, "LR")
    assert "c" in label and "Convolution" in label and "kernel size: 3" in label
    assert draw.choose_color_by_layertype("Convolution") != draw.choose_color_by_layertype("ReLU")


@drawing("get_pydot_graph", "draw_net", "draw_net_to_file", "LAYER_STYLE_DEFAULT")
@drawing("NEURON_LAYER_STYLE", "BLOB_STYLE")
def graphs(lab):
    pytest.importorskip("pydot")
    for style in (draw.LAYER_STYLE_DEFAULT, draw.NEURON_LAYER_STYLE, draw.BLOB_STYLE):
        assert {"shape", "fillcolor", "style"} <= set(style)
    n = caffe.NetSpec()
    n.x = L.Input(shape=dict(dim=[2, 3]))
    n.relu = L.ReLU(n.x)
    assert len(draw.get_pydot_graph(n.to_proto(), "LR").get_nodes()) == 4
    # As Graphviz's own text, which needs no Graphviz.
    assert b"relu" in draw.draw_net(n.to_proto(), "LR", "gv")
    draw.draw_net_to_file(n.to_proto(), lab.path("net.gv"))
    assert "digraph" in open(lab.path("net.gv")).read()


# Classifier and Detector


@classifier("predict")
def predict(lab):
    made = images_net(caffe.Classifier, lab, image_dims=(6, 8), raw_scale=2, channel_swap=(2, 1, 0))
    found = made.predict([IMAGE], oversample=False)
    np.testing.assert_allclose(found, [2 * IMAGE[1:5, 2:6].mean((0, 1))[::-1]], rtol=1e-5)
    crops = caffe.io.oversample([IMAGE], (4, 4))
    np.testing.assert_allclose(made.predict([IMAGE]), [2 * crops.mean((0, 1, 2))[::-1]], rtol=1e-5)


@detector("detect_windows", "crop", "configure_crop")
def detect(lab):
    Image.fromarray((IMAGE * 255).astype(np.uint8)).save(lab.path("a.png"))
    made = images_net(caffe.Detector, lab)
    windows = [(0, 0, 4, 4), (1, 2, 5, 6)]
    found = made.detect_windows([(lab.path("a.png"), windows)])
    image = caffe.io.load_image(lab.path("a.png"))
    for detection, (top, left, bottom, right) in zip(found, windows, strict=True):
        expected = image[top:bottom, left:right]
        np.testing.assert_allclose(detection["prediction"], expected.mean((0, 1)), rtol=1e-5)
        np.testing.assert_array_equal(made.crop(image, (top, left, bottom, right)), expected)
        assert detection["filename"] == lab.path("a.png")
    made.configure_crop(1)
    assert made.crop(image, windows[1]).shape == (4, 4, 3)


@detector("detect_selective_search")
def selective_search(lab):
    Image.fromarray((IMAGE * 255).astype(np.uint8)).save(lab.path("a.png"))
    module = types.ModuleType("selective_search_ijcv_with_python")
    module.get_windows = lambda names, cmd: [[(0, 0, 4, 4)] for _ in names]
    lab.monkeypatch.setitem(sys.modules, module.__name__, module)
    made = images_net(caffe.Detector, lab)
    assert len(made.detect_selective_search([lab.path("a.png")])) == 1


# caffe.coord_map


@coordinates("conv_params", "crop_params", "coord_map", "compose", "inverse")
@coordinates("coord_map_from_to", "crop")
def maps(lab):
    data = L.Input(shape=dict(dim=[1, 3, 32, 32]))
    conv = L.Convolution(data, num_output=1, kernel_size=5, stride=2, pad=1)
    axis, stride, extent, pad = coord_map.conv_params(conv.fn)
    assert (axis, stride.tolist(), extent.tolist(), pad.tolist()) == (1, [2], [5], [1])
    there = coord_map.coord_map(conv.fn)
    assert (there[0], there[1].tolist(), there[2].tolist()) == (1, [0.5], [-0.5])
    back = coord_map.inverse(there)
    assert (back[1].tolist(), back[2].tolist()) == ([2], [1])
    assert [float(v[0]) for v in coord_map.compose(there, back)[1:]] == [1, 0]
    up = L.Deconvolution(conv, convolution_param=dict(num_output=1, kernel_size=4, stride=2))
    _, scale, shift = coord_map.coord_map_from_to(up, data)
    assert (float(scale[0]), float(shift[0])) == (1, -0.5)
    cropped = coord_map.crop(L.ReLU(data), data)
    assert coord_map.crop_params(cropped.fn)[0] == 2


@coordinates("UndefinedMapException", "AxisMismatchException")
def map_errors(lab):
    product = L.InnerProduct(L.Input(), num_output=1)
    with pytest.raises(coord_map.UndefinedMapException):
        coord_map.coord_map(product.fn)
    with pytest.raises(coord_map.AxisMismatchException):
        coord_map.compose((1, 1, 0), (2, 1, 0))
