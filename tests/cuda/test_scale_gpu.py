"""Scale and Bias on a GPU, and the sums around channels that they, PReLU and others share."""

import numpy as np
import pytest

import caffe_spn
from caffe_spn.cuda import scale as kernels
from caffe_spn.errors import ShapeError
from tests import golden_cases
from tests.cuda import both_devices
from tests.cuda.emulation.driver import ORDERS, EmulatedDriver
from tests.layers.running import Run, normal

# Definition and shapes of the bottoms; without a second one the operand is learned.
LAYERS = {
    "channels": ('type: "Scale"', (2, 3, 4, 5)),
    "bias, too": ('type: "Scale" scale_param { bias_term: true }', (2, 3, 4, 5)),
    "single numbers": ('type: "Scale" scale_param { num_axes: 0 bias_term: true }', (2, 3, 7)),
    "last axis": ('type: "Scale" scale_param { axis: -1 bias_term: true }', (3, 5, 4)),
    "from the first axis": ('type: "Scale" scale_param { axis: 0 num_axes: -1 }', (3, 5)),
    "two axes": ('type: "Scale" scale_param { axis: 1 num_axes: 2 }', (2, 3, 4, 36)),
    "bottom": ('type: "Scale" scale_param { axis: 0 }', (2, 3, 5), (2, 3)),
    "bottom and bias": ('type: "Scale" scale_param { bias_term: true }', (2, 3, 5), (3,)),
    "scalar bottom": ('type: "Scale" scale_param { axis: 0 }', (2, 3, 5), ()),
    "no elements": ('type: "Scale" scale_param { bias_term: true }', (0, 3, 5)),
    "no channels": ('type: "Scale"', (2, 0, 5), (0,)),
    "no positions": ('type: "Scale"', (2, 3, 0), (3,)),
    "bias": ('type: "Bias"', (2, 3, 4, 5)),
    "bias bottom": ('type: "Bias" bias_param { axis: 0 }', (2, 3, 40), (2, 3)),
}
# Arrays (outer, size, inner): short and long channels, one and many parts.
DIMS = {
    "one": (1, 1, 1),
    "columns": (7, 5, 3),
    "many rows": (200, 3, 1),
    "wide": (3, 40, 31),
    "runs": (3, 5, 32),
    "odd runs": (2, 3, 4101),
    "many parts": (2, 1, 9000),
}


def run(name, in_place):
    """Everything that the layer writes."""
    definition, *shapes = LAYERS[name]
    bottoms = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    values = [0.7, -1.2]
    made = Run(definition, *bottoms, params=values, in_place=in_place)
    top = made.out.copy()
    for blob in made.layer.blobs:
        blob.diff[...] = 0.5  # what is there is added to
    made.backward(normal(*shapes[0], seed=9))
    return [top, *(b.diff.copy() for b in (*made.bottom, *made.layer.blobs))]


@pytest.mark.sanitized
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_as_on_the_cpu(name, in_place, gpu):
    wanted = run(name, in_place)
    caffe_spn.set_mode_gpu()
    for got, want in zip(run(name, in_place), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_nothing_is_copied_between_passes(gpu):
    caffe_spn.set_mode_gpu()
    made = Run(LAYERS["bias, too"][0], normal(2, 3, 4))
    before = gpu.uploads, gpu.downloads
    made.forward()
    made.layer.backward(made.top, [True], made.bottom)
    assert (gpu.uploads, gpu.downloads) == before


@pytest.mark.parametrize(("force", "kept"), [("", False), ("force_backward: true", True)])
@pytest.mark.parametrize("set_mode", ["set_mode_cpu", "set_mode_gpu"])
def test_input_is_kept_only_for_a_backward_pass(set_mode, force, kept, gpu, tmp_path):
    getattr(caffe_spn, set_mode)()
    path = tmp_path / "net.prototxt"
    path.write_text(
        force + ' layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 3 } } }'
        ' layer { name: "s" type: "Scale" bottom: "x" top: "x" scale_param { axis: 0 } }'
    )
    net = caffe_spn.Net(path, caffe_spn.TEST)
    net.forward()
    layer = net.layer_dict["s"]
    assert bool(layer._workspaces or layer._gpu_workspaces) == kept


def on_device(gpu, array, start=0):
    """A copy that begins `start` elements behind an aligned address."""
    target = gpu.array((array.size + start,)).part(start, array.shape)
    gpu.upload(target, array)
    return target


def gradients(gpu, dims, start, accumulate):
    x, diff = normal(*dims), normal(*dims, seed=1)
    results = [on_device(gpu, np.full(dims[1], 0.5, np.float32)) for _ in range(2)]
    on_gpu = [on_device(gpu, array, start) for array in (x, diff)]
    kernels.factor_gradient(*on_gpu, dims, results[0], accumulate)
    kernels.summand_gradient(on_gpu[1], dims, results[1], accumulate)
    got = [np.empty(dims[1], np.float32) for _ in results]
    for host, device in zip(got, results, strict=True):
        gpu.download(host, device)
    terms = (np.float64(x) * diff, np.float64(diff))
    return got, [term.sum(axis=(0, 2)) + (0.5 if accumulate else 0) for term in terms]


@pytest.mark.sanitized
@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("dims", DIMS.values(), ids=DIMS)
def test_sums_around_channels(dims, accumulate, start, gpu):
    for got, want in zip(*gradients(gpu, dims, start, accumulate), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("dims", [DIMS["many rows"], DIMS["many parts"]])
def test_sums_do_not_depend_on_the_order(dims, gpu):
    results = set()
    for order in ORDERS:
        if isinstance(gpu.driver, EmulatedDriver):
            gpu.driver.thread_order = gpu.driver.block_order = order
        results.add(b"".join(g.tobytes() for g in gradients(gpu, dims, 0, True)[0]))
    assert len(results) == 1


def test_operands_must_have_the_channels(gpu):
    x = gpu.array((2, 3, 4))
    with pytest.raises(ShapeError, match=r"scale: factors is \(2,\) \(float32\); .* 3 elements"):
        kernels.scale(x, x, (2, 3, 4), gpu.array((2,)))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Scale", "Bias")), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path, gpu):
    both_devices.run_golden(gpu, case, tmp_path)
