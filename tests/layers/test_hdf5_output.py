import h5py
import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn import DataError, PrototxtError, ShapeError
from caffe_spn.proto import caffe_pb2, text
from tests.golden_cases import case_id, cases, run_net
from tests.layers.running import Run, normal

CASES = cases("data", types=("HDF5Output",))


def definition(path):
    return f'type: "HDF5Output" hdf5_output_param {{ file_name: "{path}" }}'


def read(path):
    with h5py.File(path, "r") as file:
        return {name: values[()] for name, values in file.items()}


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_as_recorded_from_caffe(case, tmp_path):
    run_net(case, tmp_path)
    got = read(tmp_path / f"{case['name']}.written.h5")
    want = read(tmp_path / f"{case['name']}.expected.h5")
    assert list(got) == list(want)
    for name, values in want.items():
        assert got[name].dtype == values.dtype
        np.testing.assert_array_equal(got[name], values)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3), (2,), (1, 1, 1, 1), (4, 3, 2)])
def test_missing_axes_count_as_one(tmp_path, shape):
    data, label = normal(*shape), normal(shape[0], seed=1)
    Run(definition(tmp_path / "out.h5"), data, label, tops=0)
    got = read(tmp_path / "out.h5")
    np.testing.assert_array_equal(got["data"], data.reshape((*shape, 1, 1, 1)[:4]))
    np.testing.assert_array_equal(got["label"], label.reshape(-1, 1, 1, 1))


def test_the_first_pass_replaces_the_file_and_later_ones_append(tmp_path):
    (tmp_path / "out.h5").write_text("something old")
    passes = [(normal(2, 3, 1, 4, seed=n), normal(2, 5, seed=n + 9)) for n in range(4)]
    run = Run(definition(tmp_path / "out.h5"), *passes[0], tops=0)
    for data, label in passes[1:]:
        run.bottom[0].data[...], run.bottom[1].data[...] = data, label
        run.forward()
    got = read(tmp_path / "out.h5")
    np.testing.assert_array_equal(got["data"], np.concatenate([d for d, _ in passes]))
    np.testing.assert_array_equal(got["label"][:, :, 0, 0], np.concatenate([x for _, x in passes]))
    assert [p.name for p in tmp_path.iterdir()] == ["out.h5"]


def test_it_can_be_read_as_hdf5_data(tmp_path):
    data, label = normal(4, 3, 2, 2), np.arange(4.0)
    Run(definition(tmp_path / "out.h5"), data, label, tops=0)
    (tmp_path / "list.txt").write_text(f"{tmp_path}/out.h5")
    param = (
        'layer { name: "d" type: "HDF5Data" top: "data" top: "label"'
        f' hdf5_data_param {{ source: "{tmp_path}/list.txt" batch_size: 4 }} }}'
    )
    net = caffe.Net(text.parse(param, caffe_pb2.NetParameter()), caffe.TEST)
    net.forward()
    np.testing.assert_array_equal(net.blobs["data"].data, data)
    np.testing.assert_array_equal(net.blobs["label"].data.ravel(), label)


def test_a_network_that_is_only_built_keeps_the_file(tmp_path):
    (tmp_path / "out.h5").write_text("kept")
    param = (
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }'
        f'layer {{ name: "o" bottom: "x" bottom: "x" {definition(tmp_path / "out.h5")} }}'
    )
    caffe.Net(text.parse(param, caffe_pb2.NetParameter()), caffe.TEST)
    assert (tmp_path / "out.h5").read_text() == "kept"


def test_no_file_name():
    with pytest.raises(PrototxtError, match="has no file_name"):
        Run('type: "HDF5Output"', normal(2), normal(2), tops=0)


def test_shapes_that_cannot_be_written(tmp_path):
    path = tmp_path / "out.h5"
    with pytest.raises(ShapeError, match=r"\(2, 3\) and label \(3,\); both must"):
        Run(definition(path), normal(2, 3), normal(3), tops=0)
    with pytest.raises(ShapeError, match=r"label has shape .* at most 4 axes"):
        Run(definition(path), normal(2), normal(2, 1, 1, 1, 1), tops=0)
    run = Run(definition(path), normal(2, 3), normal(2), tops=0)
    run.bottom[0].reshape(2, 4)
    with pytest.raises(ShapeError, match=r"rows are \[\(4, 1, 1\), \(1, 1, 1\)\]; those in"):
        run.forward()


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match="there is no folder to write it into"):
        Run(definition(tmp_path / "none" / "out.h5"), normal(2), normal(2), tops=0)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"folder\n  cannot be written"):
        Run(definition(tmp_path / "folder"), normal(2), normal(2), tops=0)
