"""Cases recorded from BVLC Caffe (their format: `tests/golden/README.md`), and how to run one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np

import caffe_spn as caffe

FOLDER = Path(__file__).parent / "golden"
INDEX = json.loads((FOLDER / "index.json").read_text())


def cases(*kinds: str, types: tuple[str, ...] | None = None) -> list[dict]:
    """The cases of some kinds; with `types`, those whose layer under test is one of them."""
    return [
        case
        for case in INDEX
        if case["kind"] in kinds
        and (types is None or case["layer_types"][:1] in [[t] for t in types])
    ]


def case_id(case: dict) -> str:
    return case["name"]


@contextlib.contextmanager
def copied(case: dict, folder: Path):
    """The case's files copied to `folder`, which is the current directory meanwhile."""
    for name in case["files"]:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(FOLDER / name, target)
    before = os.getcwd()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield folder
    finally:
        sys.path.remove(str(folder))
        os.chdir(before)


def part(arrays, prefix: str) -> dict[str, np.ndarray]:
    """The arrays under one key, such as ``out`` or ``param``."""
    return {k[len(prefix) + 1 :]: arrays[k] for k in arrays.files if k.startswith(prefix + "/")}


def compare(case: dict, key: str, got, want) -> None:
    """Assert equality within the case's tolerance."""
    assert np.shape(got) == want.shape, f"{key}: shape {np.shape(got)}, recorded {want.shape}"
    if key.split("/", 1)[-1] in case.get("exact", []):
        np.testing.assert_array_equal(got, want, err_msg=key)
        return
    atol = case.get("atols", {}).get(key, case["atol"])
    np.testing.assert_allclose(got, want, case["rtol"], atol, err_msg=key)


def param_blob(net, key: str):
    layer, index = key.rsplit("/", 1)
    return net.params[layer][int(index)]


def run_net(case: dict, folder: Path) -> None:
    """Run a case of kind layer, wiring, net, data or filler and compare everything recorded."""
    with copied(case, folder):
        arrays = np.load(case["name"] + ".npz")
        net = caffe.Net(case["name"] + ".prototxt", getattr(caffe, case["phase"]))
        try:
            if "net" in case:  # not recorded for the layers of the SPN fork
                _check_structure(case, net)
            _set_params(case, net, arrays)
            _run_forward(case, net, arrays)
            if case["backward"]:
                _run_backward(case, net, arrays)
            # The shapes are those after the last pass, which may have reshaped the net.
            shapes = {name: list(blob.shape) for name, blob in net.blobs.items()}
            want_shapes = case["net"]["blobs"] if "net" in case else {}
            assert {k: shapes.get(k) for k in want_shapes} == want_shapes
            for name, want in part(arrays, "blob").items():
                compare(case, f"blob/{name}", net.blobs[name].data, want)
        finally:
            net.close()


def _check_structure(case: dict, net) -> None:
    want = case["net"]
    got = [[name, layer.type] for name, layer in zip(net._layer_names, net.layers, strict=True)]
    assert got == want["layers"]
    assert list(net.inputs) == want["inputs"]
    assert list(net.outputs) == want["outputs"]


def _set_params(case: dict, net, arrays) -> None:
    for key, value in part(arrays, "param").items():
        blob = param_blob(net, key)
        if case["kind"] == "filler":
            compare(case, f"param/{key}", blob.data, value)
        else:
            assert blob.shape == value.shape, key
            blob.data[...] = value


def _run_forward(case: dict, net, arrays) -> None:
    if case.get("feed") == "set_input_arrays":
        feed = part(arrays, "in")
        net.set_input_arrays(feed["data"], feed["label"])
    for k in range(1, case["forward_passes"] + 1):
        number = "" if k == 1 else str(k)
        if "feed" not in case:
            reshaped = False
            for name, value in part(arrays, f"in{number}").items():
                if net.blobs[name].shape != value.shape:
                    net.blobs[name].reshape(*value.shape)
                    reshaped = True
                net.blobs[name].data[...] = value
            if reshaped:
                net.reshape()
        net.forward()
        for name, want in part(arrays, f"out{number}").items():
            compare(case, f"out{number}/{name}", net.blobs[name].data, want)
    for key, want in part(arrays, "paramafter").items():
        compare(case, f"paramafter/{key}", param_blob(net, key).data, want)


def _run_backward(case: dict, net, arrays) -> None:
    for name, value in part(arrays, "topdiff").items():
        net.blobs[name].diff[...] = value
    net.clear_param_diffs()
    net.backward()
    no_diff = case.get("no_diff", [])
    for name, want in part(arrays, "indiff").items():
        if name not in no_diff:
            compare(case, f"indiff/{name}", net.blobs[name].diff, want)
    for key, want in part(arrays, "pdiff").items():
        compare(case, f"pdiff/{key}", param_blob(net, key).diff, want)
    for name, want in part(arrays, "diff").items():
        if name not in no_diff:
            compare(case, f"diff/{name}", net.blobs[name].diff, want)
