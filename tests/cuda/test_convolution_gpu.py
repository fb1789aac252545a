"""Convolution and Deconvolution on a GPU, by each way, against the CPU and Caffe's records."""

import logging

import numpy as np
import pytest

import caffe_spn
from caffe_spn.cpu.convolution_geometry import Geometry
from caffe_spn.cuda import convolution, convolution_columns
from caffe_spn.cuda.nvidia import libraries
from caffe_spn.errors import DeviceError, ShapeError
from tests import golden_cases
from tests.cuda import both_devices
from tests.cuda.arrays import down, empty, normal, up
from tests.cuda.emulation import blas
from tests.cuda.emulation.driver import ORDERS
from tests.layers.running import Run

# Parameters, the bottom's shape, and what computes it: by Convolution, by Deconvolution.
CASES = {
    "one pixel": ("kernel_size: 1", (1, 1, 1, 1), "cudnn", "cudnn"),
    "3x3": ("kernel_size: 3 pad: 1", (2, 4, 5, 7), "cudnn", "cudnn"),
    "1x1": ("kernel_size: 1", (3, 4, 4, 5), "cudnn", "cudnn"),
    "1x1, stride 2": ("kernel_size: 1 stride: 2", (2, 4, 5, 4), "cudnn", "cudnn"),
    "stride beyond the kernel": ("kernel_size: 2 stride: 3", (2, 2, 8, 5), "cudnn", "cudnn"),
    "dilation": ("kernel_size: 3 dilation: 2 pad: 2", (1, 2, 6, 7), "cudnn", "cudnn"),
    "lists": (
        "kernel_size: [2, 3] stride: [1, 2] pad: [1, 0] dilation: [2, 1]",
        (2, 2, 4, 7),
        "cudnn",
        "cudnn",
    ),
    "group": ("kernel_size: 3 group: 2 pad: 1", (2, 6, 4, 5), "cudnn", "cudnn"),
    "1x1 in groups": ("kernel_size: 1 group: 2", (2, 6, 4, 5), "cudnn", "cudnn"),
    "beyond the edge": ("kernel_size: 3 stride: 2", (2, 3, 2, 6), "columns", "cudnn"),
    "depthwise": ("kernel_size: 3 group: 4 pad: 1", (2, 4, 4, 5), "depthwise", "depthwise"),
    "no axis": ("", (3, 4), "cudnn", "cudnn"),
    "one axis": ("kernel_size: 3 stride: 2", (2, 3, 8), "cudnn", "cudnn"),
    "three axes": ("kernel_size: [2, 1, 3] pad: [1, 0, 1]", (2, 2, 3, 4, 5), "cudnn", "cudnn"),
    "four axes": ("kernel_size: 2 pad: 1", (1, 2, 2, 3, 2, 3), "columns", "columns"),
    "axis 2": ("kernel_size: 2 axis: 2", (2, 3, 2, 4, 4), "cudnn", "cudnn"),
    "no bias": ("kernel_size: 2 bias_term: false", (2, 2, 4, 5), "cudnn", "cudnn"),
}
TYPES = ("Convolution", "Deconvolution")


@pytest.fixture(params=["cudnn", "columns"])
def way(gpu, request):
    """What computes where the library could; with ``--gpu`` it is the real one."""
    if request.param == "columns":
        gpu.libraries["cudnn"] = libraries.Missing()
    return request.param


def definition(layer_type, text, outputs=4):
    return f'type: "{layer_type}" convolution_param {{ num_output: {outputs} {text} }}'


def parameters(text, *bottoms):
    """Random weights and biases of a layer, and its tops' diffs."""
    layer = Run(text, *bottoms, tops=len(bottoms))
    params = [normal(*blob.shape, seed=10 + i) for i, blob in enumerate(layer.layer.blobs)]
    return params, [normal(*top.shape, seed=20 + i) for i, top in enumerate(layer.top)]


def everything(text, bottoms, params, top_diffs):
    """Tops, bottom diffs and parameter diffs, which have accumulated over two passes."""
    run = Run(text, *bottoms, tops=len(bottoms), params=params)
    run.backward(*top_diffs)
    run.backward(*top_diffs)
    blobs = [(t, "data") for t in run.top] + [(b, "diff") for b in run.bottom]
    return [getattr(*pair).copy() for pair in blobs + [(b, "diff") for b in run.layer.blobs]]


def compare(gpu, text, *bottoms):
    """The GPU writes what the CPU writes, and nothing but parameters and bottoms is moved."""
    params, top_diffs = parameters(text, *bottoms)
    wanted = everything(text, bottoms, params, top_diffs)
    caffe_spn.set_mode_gpu()
    for i, (a, b) in enumerate(
        zip(everything(text, bottoms, params, top_diffs), wanted, strict=True)
    ):
        np.testing.assert_allclose(a, b, 1e-4, 1e-4, err_msg=f"array {i}: tops, diffs, parameters'")
    caffe_spn.set_mode_cpu()


@pytest.mark.sanitized
@pytest.mark.parametrize("layer_type", TYPES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_as_on_the_cpu(gpu, way, case, layer_type):
    compare(gpu, definition(layer_type, case[0]), normal(*case[1]))


@pytest.mark.parametrize("layer_type", TYPES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_computes(case, layer_type):
    text, shape, *chosen = case
    layer = Run(definition(layer_type, text), normal(*shape))
    x, y = (layer.layer.images(blobs[0].data).shape for blobs in (layer.bottom, layer.top))
    if layer_type == "Deconvolution":
        x, y = y, x
    got = convolution.choose(layer.layer.geometry, x, layer.layer.blobs[0].shape, y)
    assert got == chosen[TYPES.index(layer_type)]


@pytest.mark.parametrize("text", ["kernel_size: 3 pad: 1", "kernel_size: 3 stride: 2 group: 4"])
@pytest.mark.parametrize("layer_type", TYPES)
def test_the_order_of_threads_changes_no_bit(gpu, emulated_only, way, layer_type, text):
    text, bottoms = definition(layer_type, text), [normal(2, 4, 9, 8)]
    params, top_diffs = parameters(text, *bottoms)
    caffe_spn.set_mode_gpu()
    found = []
    for order in ORDERS:
        gpu.driver.thread_order = gpu.driver.block_order = order
        arrays = everything(text, bottoms, params, top_diffs)
        found.append([array.tobytes() for array in arrays])
    assert found[1] == found[0]
    assert found[2] == found[0]


@pytest.mark.parametrize("layer_type", TYPES)
def test_batch_and_map_may_change(gpu, way, layer_type):
    text = definition(layer_type, "kernel_size: 3 pad: 1")
    params, _ = parameters(text, normal(1, 2, 4, 4))
    found = []
    for set_mode in (caffe_spn.set_mode_cpu, caffe_spn.set_mode_gpu):
        set_mode()
        run = Run(text, normal(1, 2, 4, 4), params=params)
        for shape in ((3, 2, 7, 5), (1, 2, 3, 9)):
            run.bottom[0].reshape(*shape)
            run.bottom[0].data[...] = normal(*shape)
            run.forward()
            found.append(run.out.copy())
    for on_cpu, on_gpu in zip(found[:2], found[2:], strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, 1e-4, 1e-5)


@pytest.mark.parametrize("layer_type", TYPES)
def test_two_bottoms(gpu, way, layer_type):
    text = definition(layer_type, "kernel_size: 3 stride: 2")
    compare(gpu, text, normal(2, 3, 5, 6), normal(2, 3, 5, 6, seed=1))


@pytest.mark.parametrize("layer_type", TYPES)
@pytest.mark.parametrize(("rows", "wide"), [(1, 1), (40, 7), (10**6, 40)])
def test_chunks(gpu, monkeypatch, layer_type, rows, wide):
    """Columns are made in parts: some positions of an image, one image, several images."""
    gpu.libraries["cudnn"] = libraries.Missing()
    monkeypatch.setattr(convolution_columns, "MOST_WORKSPACE", 4 * 30 * rows)
    monkeypatch.setattr(convolution_columns, "ENOUGH_COLUMNS", wide)
    compare(gpu, definition(layer_type, "kernel_size: 2 group: 2"), normal(5, 4, 3, 4))
    compare(gpu, definition(layer_type, "kernel_size: 1"), normal(5, 4, 3, 4))


@pytest.mark.parametrize(
    ("images", "positions", "rows", "wanted"),
    [
        (3, 10, 1, [(0, 2, 0, 10), (2, 1, 0, 10)]),
        (2, 25, 1, [(0, 1, 0, 25), (1, 1, 0, 25)]),
        (1, 250, 1, [(0, 1, 0, 100), (0, 1, 100, 100), (0, 1, 200, 50)]),
        (1, 2, 1000, [(0, 1, 0, 1), (0, 1, 1, 1)]),
        (0, 5, 1, []),
    ],
)
def test_what_a_chunk_is(monkeypatch, images, positions, rows, wanted):
    monkeypatch.setattr(convolution_columns, "MOST_WORKSPACE", 400)
    monkeypatch.setattr(convolution_columns, "ENOUGH_COLUMNS", 20)
    made = list(convolution_columns.chunks(images, positions, rows))
    assert [(c.image, c.images, c.first, c.positions) for c in made] == wanted


def test_up_sampling_needs_no_library(gpu):
    gpu.libraries.clear()
    text = (
        'type: "Deconvolution" convolution_param { num_output: 3 group: 3 kernel_size: 4 stride: 2'
        ' pad: 1 bias_term: false weight_filler { type: "bilinear" } }'
    )
    both_devices.compare(gpu, text, normal(2, 3, 5, 4))
    assert not gpu.libraries


@pytest.mark.parametrize("engine", ["DEFAULT", "CAFFE", "CUDNN"])
def test_engine(gpu, emulated_only, engine):
    calls = blas.install(gpu)
    text = definition("Convolution", f"kernel_size: 3 engine: {engine}")
    both_devices.compare(gpu, text, normal(2, 3, 5, 4), params=[normal(4, 3, 3, 3)])
    by_cudnn = ["cudnn.forward", "cudnn.backward_weights", "cudnn.backward_data"]
    assert calls == (["sgemm"] * 3 if engine == "CAFFE" else by_cudnn)


def test_what_cudnn_refuses_is_computed_otherwise(gpu, emulated_only):
    calls = blas.install(gpu)
    gpu.libraries["cudnn"].refuses = {"backward_weights"}
    compare(gpu, definition("Convolution", "kernel_size: 3"), normal(2, 3, 5, 4))
    assert calls.count("sgemm") == calls.count("cudnn.backward_weights") == 2


def test_without_cudnn_it_is_said_once(gpu, monkeypatch, caplog):
    def missing(name, runtime):
        assert name == "cudnn"
        raise DeviceError("cuDNN was not found", help="pip install it")

    gpu.library("cublas")
    gpu.libraries.pop("cudnn", None)
    monkeypatch.setattr(libraries, "open_library", missing)
    with caplog.at_level(logging.WARNING, "caffe_spn"):
        compare(gpu, definition("Convolution", "kernel_size: 3"), normal(2, 3, 5, 4))
        compare(gpu, definition("Convolution", "kernel_size: 3"), normal(1, 3, 5, 4))
    (record,) = caplog.records
    assert "cuDNN was not found; convolutions are computed with im2col" in record.getMessage()
    assert "pip install it" in record.getMessage()


def test_without_cublas_either(gpu, monkeypatch):
    monkeypatch.setattr(libraries, "find", lambda name: None)
    monkeypatch.setattr(libraries, "_loaded", {})
    gpu.libraries.clear()
    caffe_spn.set_mode_gpu()
    with pytest.raises(DeviceError, match="cuBLAS was not found") as error:
        Run(definition("Convolution", "kernel_size: 3"), normal(2, 3, 5, 4))
    assert "pip install nvidia-cublas" in error.value.help


def test_five_axes_run_on_the_host(gpu):
    launches = gpu.launches
    compare(gpu, definition("Convolution", "kernel_size: 1"), normal(1, 2, 1, 2, 1, 2, 2))
    assert gpu.launches == launches


def test_only_wanted_gradients_are_written(gpu, way):
    caffe_spn.set_mode_gpu()
    run = Run(definition("Convolution", "kernel_size: 1"), normal(1, 2, 3, 3))
    run.layer.param_propagate_down = [False, True]
    (bottom_diff,) = run.backward(np.ones((1, 4, 3, 3)), propagate=[False])
    assert not bottom_diff.any()
    assert not run.layer.blobs[0].diff.any()
    np.testing.assert_array_equal(run.layer.blobs[1].diff, [9] * 4)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 4, 4)])
def test_without_images_diffs_are_left(gpu, way, shape):
    geometry = Geometry.square(3)
    y_diff, w_diff = empty((shape[0], 2, 2, 2)), up(normal(2, 3, 3, 3))
    if shape[0]:
        gpu.zero(y_diff)
    convolution.backward_weights(y_diff, up(normal(*shape)), w_diff, geometry)
    np.testing.assert_array_equal(down(w_diff), normal(2, 3, 3, 3))


def test_shapes_must_fit(gpu):
    x, w, y = empty((1, 2, 5, 5)), empty((3, 2, 3, 3)), empty((1, 3, 4, 3))
    with pytest.raises(ShapeError, match=r"x \(1, 2, 5, 5\) by \(3, 2, 3, 3\) is not \(1, 3, 4,"):
        convolution.forward(x, w, None, y, Geometry.square(3))


RECORDED = golden_cases.cases("layer", types=TYPES)


@pytest.mark.parametrize("case", RECORDED, ids=golden_cases.case_id)
def test_as_caffe_recorded(gpu, way, case, tmp_path):
    both_devices.run_golden(gpu, case, tmp_path)
