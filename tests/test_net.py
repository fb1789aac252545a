"""Net: building, wiring, running; pycaffe's methods; errors with their place."""

import json

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.errors import PrototxtError, ShapeError
from tests import golden_cases as golden

SIMPLE = """
name: "simple"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "fc" top: "fc" }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


def write(folder, text, name="net.prototxt"):
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.fixture
def simple(tmp_path):
    return caffe.Net(write(tmp_path, SIMPLE), caffe.TEST)


@pytest.mark.parametrize("case", golden.cases("wiring", "net"), ids=golden.case_id)
def test_recorded_nets(case, tmp_path):
    golden.run_net(case, tmp_path)


@pytest.mark.parametrize("case", golden.cases("data", types=("Python",)), ids=golden.case_id)
def test_recorded_python_layers(case, tmp_path):
    golden.run_net(case, tmp_path)


@pytest.mark.parametrize(
    "case",
    [
        c
        for c in golden.cases("phase")
        if not any(f.endswith(".solver.prototxt") for f in c["files"])
    ],
    ids=golden.case_id,
)
def test_recorded_phases(case, tmp_path):
    with golden.copied(case, tmp_path):
        for state in json.loads((tmp_path / f"{case['name']}.json").read_text()):
            phase = getattr(caffe, state["phase"])
            arguments = (f"{case['name']}.prototxt", phase, state.get("level", 0))
            stages = state.get("stages", [])
            if state.get("expect") == "error" or "error" in state:
                with pytest.raises(caffe.CaffeSpnError):
                    caffe.Net(*arguments, stages=stages)
                continue
            net = caffe.Net(*arguments, stages=stages)
            got = [[n, layer.type] for n, layer in zip(net._layer_names, net.layers, strict=True)]
            names = state["layers"]
            assert (
                got if names and isinstance(names[0], list) else list(net._layer_names)
            ) == names
            assert list(net.outputs) == state["outputs"]


@pytest.mark.parametrize("case", golden.cases("text"), ids=golden.case_id)
def test_recorded_definitions_build_or_are_refused(case, tmp_path):
    with golden.copied(case, tmp_path):
        path = f"{case['name']}.prototxt"
        if case["expect"] == "error":
            with pytest.raises(caffe.CaffeSpnError):
                caffe.Net(path, getattr(caffe, case["phase"]))
            return
        net = caffe.Net(path, getattr(caffe, case["phase"]))
        assert {n: list(b.shape) for n, b in net.blobs.items()} == case["net"]["blobs"]
        net.close()


def test_dictionaries_of_pycaffe(simple):
    assert list(simple.blobs) == ["data", "fc", "prob"]
    assert list(simple.params) == ["fc"]
    assert list(simple.layer_dict) == ["data", "fc", "relu", "prob"]
    assert simple.inputs == ["data"] and simple.outputs == ["prob"]
    assert simple.bottom_names["prob"] == ["fc"] and simple.top_names["data"] == ["data"]
    assert simple._layer_names[1] == "fc"


def test_forward_returns_outputs_and_takes_keywords(simple):
    data = np.random.default_rng(0).standard_normal((2, 3)).astype("f")
    result = simple.forward(data=data, blobs=["fc"])
    assert set(result) == {"fc", "prob"}
    np.testing.assert_allclose(result["prob"].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(simple.blobs["data"].data, data)


def test_forward_in_parts_equals_forward_as_a_whole(simple):
    simple.blobs["data"].data[...] = [[1, 2, 3], [-1, 0, 1]]
    whole = simple.forward()["prob"].copy()
    simple.blobs["prob"].data[...] = 0
    assert set(simple.forward(end="relu")) == {"fc"}
    np.testing.assert_array_equal(simple.forward(start="prob")["prob"], whole)


def test_forward_refuses_unknown_inputs_and_other_batches(simple):
    with pytest.raises(Exception, match="do not match net inputs"):
        simple.forward(image=np.zeros((2, 3)))
    with pytest.raises(Exception, match="not batch sized"):
        simple.forward(data=np.zeros((5, 3)))


def test_forward_all_runs_in_batches_and_drops_the_padding(simple):
    data = np.random.default_rng(1).standard_normal((5, 3)).astype("f")
    everything = simple.forward_all(data=data)["prob"]
    assert everything.shape == (5, 4)
    np.testing.assert_allclose(everything[4], simple.forward(data=data[[4, 4]])["prob"][0])


def test_callbacks_see_every_layer_in_order(simple):
    seen = []
    simple.before_forward(lambda i: seen.append(("before", i)))
    simple.after_forward(lambda i: seen.append(("after", i)))
    simple.forward(end="fc")
    assert seen == [("before", 0), ("after", 0), ("before", 1), ("after", 1)]


def test_reshape_passes_on_and_the_older_argument_order_works(simple, tmp_path):
    simple.blobs["data"].reshape(7, 3)
    simple.reshape()
    assert simple.blobs["prob"].shape == (7, 4)
    simple.save(str(tmp_path / "w.caffemodel"))
    path = write(tmp_path, SIMPLE)
    old_style = caffe.Net(path, str(tmp_path / "w.caffemodel"), caffe.TEST)
    np.testing.assert_array_equal(old_style.params["fc"][0].data, simple.params["fc"][0].data)


@pytest.mark.parametrize("suffix", [".caffemodel", ".caffemodel.h5"])
def test_weights_survive_saving(simple, tmp_path, suffix):
    path = str(tmp_path / f"w{suffix}")
    (simple.save_hdf5 if suffix.endswith("h5") else simple.save)(path)
    other = caffe.Net(write(tmp_path, SIMPLE), caffe.TEST, weights=path)
    for mine, theirs in zip(simple.params["fc"], other.params["fc"], strict=True):
        np.testing.assert_array_equal(mine.data, theirs.data)


def test_a_definition_may_carry_its_parameters(simple):
    other = caffe.Net(simple.to_proto(), caffe.TEST)
    for mine, theirs in zip(simple.params["fc"], other.params["fc"], strict=True):
        np.testing.assert_array_equal(mine.data, theirs.data)


def test_all_misfitting_weights_are_listed(simple, tmp_path):
    path = str(tmp_path / "w.caffemodel")
    simple.save(path)
    wider = SIMPLE.replace("dim: 3", "dim: 5").replace("num_output: 4", "num_output: 6")
    with pytest.raises(caffe.WeightsError) as caught:
        caffe.Net(write(tmp_path, wider), caffe.TEST, weights=path)
    message = str(caught.value)
    assert "param 0 is 4 x 3 in the file, 6 x 5 in the net" in message
    assert "param 1 is 4 in the file, 6 in the net" in message


def test_share_with_uses_the_same_memory(simple, tmp_path):
    other = caffe.Net(write(tmp_path, SIMPLE), caffe.TEST)
    other.share_with(simple)
    simple.params["fc"][0].data[...] = 9
    assert (other.params["fc"][0].data == 9).all()


def test_an_error_names_file_line_and_layer(tmp_path):
    path = write(tmp_path, SIMPLE.replace('bottom: "data"', 'bottom: "dat"'))
    with pytest.raises(PrototxtError) as caught:
        caffe.Net(path, caffe.TEST)
    assert "layer 'fc' (InnerProduct)" in str(caught.value)
    assert "did you mean 'data'?" in str(caught.value)
    path = write(tmp_path, SIMPLE.replace("num_output: 4", "num_output: 0"))
    with pytest.raises(PrototxtError, match=r"net\.prototxt:4: layer 'fc' \(InnerProduct\)"):
        caffe.Net(path, caffe.TEST)


def test_off_by_one_after_ceil_mode_pooling_names_both_shapes(tmp_path):
    text = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 2 dim: 7 dim: 7 } } }
layer { name: "p" type: "Pooling" bottom: "data" top: "p"
  pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "f" type: "Pooling" bottom: "data" top: "f"
  pooling_param { kernel_size: 2 stride: 2 round_mode: FLOOR } }
layer { name: "sum" type: "Eltwise" bottom: "p" bottom: "f" top: "sum" }
"""
    with pytest.raises(ShapeError, match=r"layer 'sum'[\s\S]*\(1, 2, 3, 3\)[\s\S]*\(1, 2, 4, 4\)"):
        caffe.Net(write(tmp_path, text), caffe.TEST)


def test_all_problems_can_be_collected(tmp_path):
    text = (
        SIMPLE.replace("num_output: 4", "num_output: 0")
        + """
layer { name: "odd" type: "RELU" bottom: "data" top: "odd" }
layer { name: "late" type: "ReLU" bottom: "nowhere" top: "late" }
"""
    )
    problems = []
    caffe.Net(write(tmp_path, text), caffe.TEST, problems=problems)
    assert any("num_output" in str(p) for p in problems)
    assert any("'nowhere'" in str(p) for p in problems)


def test_python_layers_can_be_refused(tmp_path):
    text = 'layer { name: "p" type: "Python" top: "y" python_param { module: "os" layer: "X" } }'
    with pytest.raises(PrototxtError, match="Python layers are refused"):
        caffe.Net(write(tmp_path, text), caffe.TEST, allow_python=False)
    with pytest.raises(PrototxtError, match="needs the class 'X', but module 'os' has no such"):
        caffe.Net(write(tmp_path, text), caffe.TEST)


def test_loss_weights_and_backward_only_where_needed(tmp_path):
    text = SIMPLE.replace("prob", "loss").replace(
        '"Softmax" bottom: "fc"', ('"SoftmaxWithLoss" bottom: "fc" bottom: "label"')
    )
    text = text.replace(
        'layer { name: "fc"',
        (
            'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }\n'
            'layer { name: "fc"'
        ),
    )
    net = caffe.Net(write(tmp_path, text), caffe.TRAIN)
    assert net.blob_loss_weights["loss"] == 1
    net.blobs["data"].data[...] = [[1, 2, 3], [-1, -2, -3]]
    loss = net.forward_loss()
    assert loss == pytest.approx(float(net.blobs["loss"].data))
    net.clear_param_diffs()
    net.backward_pass()
    assert net.params["fc"][1].diff.any()
    assert net.blobs["data"].nbytes == net.blobs["data"].data.nbytes, "no diff for the data"


def test_import_is_quick_and_lazy(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, caffe_spn; "
        "print([m for m in ('numba','scipy','skimage','h5py','pycuda','matplotlib')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
