import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn import DataError, PrototxtError
from caffe_spn.proto import caffe_pb2, text
from tests.golden_cases import case_id, cases, run_net

h5py = pytest.importorskip("h5py")

ROWS = (5, 3, 4)


@pytest.fixture
def files(tmp_path):
    """Three files; dataset `number` counts all rows, `pair` holds two values a row."""
    first = 0
    for n, rows in enumerate(ROWS):
        number = np.arange(first, first + rows)
        with h5py.File(tmp_path / f"{n}.h5", "w") as file:
            file["number"] = number
            file["pair"] = np.stack([number * 10.0, number * 10.0 + 1], axis=1)
        first += rows
    paths = [str(tmp_path / f"{n}.h5") for n in range(len(ROWS))]
    (tmp_path / "list.txt").write_text("\n".join(paths) + "\n")
    return tmp_path


def make_net(folder, fields="batch_size: 4", tops=("number", "pair"), extra=""):
    named = " ".join(f'top: "{top}"' for top in tops)
    definition = (
        f'layer {{ name: "d" type: "HDF5Data" {named} {extra}'
        f' hdf5_data_param {{ source: "{folder}/list.txt" {fields} }} }}'
    )
    return caffe.Net(text.parse(definition, caffe_pb2.NetParameter()), caffe.TRAIN)


def numbers(net, batches):
    out = []
    for _ in range(batches):
        net.forward()
        got = net.blobs["number"].data.copy()
        np.testing.assert_array_equal(net.blobs["pair"].data[:, 0], got * 10)
        np.testing.assert_array_equal(net.blobs["pair"].data[:, 1], got * 10 + 1)
        out += got.astype(int).tolist()
    return out


@pytest.mark.parametrize("case", cases("data", types=("HDF5Data",)), ids=case_id)
def test_as_recorded_from_caffe(case, tmp_path):
    run_net(case, tmp_path)


@pytest.mark.parametrize("batch", [1, 3, 4, 7, 12, 30])
def test_batches_straddle_files_and_passes(files, batch):
    net = make_net(files, f"batch_size: {batch}")
    assert net.blobs["pair"].shape == (batch, 2) and net.blobs["number"].shape == (batch,)
    got = numbers(net, 5)
    assert got == [k % 12 for k in range(5 * batch)]


def test_shuffling_is_by_file_and_row_and_follows_the_seed(files):
    caffe.set_random_seed(4)
    first = numbers(make_net(files, "batch_size: 4 shuffle: true"), 9)
    caffe.set_random_seed(4)
    assert numbers(make_net(files, "batch_size: 4 shuffle: true"), 9) == first
    caffe.set_random_seed(5)
    assert numbers(make_net(files, "batch_size: 4 shuffle: true"), 9) != first
    passes = [first[12 * k : 12 * k + 12] for k in range(3)]
    assert len({tuple(p) for p in passes}) == 3
    file_of = np.repeat(np.arange(3), ROWS)
    for one in passes:
        assert sorted(one) == list(range(12))
        order = file_of[one]
        assert np.count_nonzero(np.diff(order)) == 2  # the rows of a file stay together


@pytest.mark.parametrize("shuffle", ["false", "true"])
def test_a_resumed_run_equals_an_uninterrupted_one(files, shuffle):
    fields = f"batch_size: 5 shuffle: {shuffle}"
    net = make_net(files, fields)
    numbers(net, 3)
    state = net.layers[0].state()
    want = numbers(net, 4)
    other = make_net(files, fields)
    other.layers[0].restore_state(state)
    assert numbers(other, 4) == want


def test_parameters_that_make_no_sense_are_refused(files):
    with pytest.raises(PrototxtError, match="does not transform data"):
        make_net(files, extra="transform_param { scale: 2 }")
    with pytest.raises(PrototxtError, match="has no batch_size"):
        make_net(files, "")


def rewrite(**datasets):
    def change(folder):
        with h5py.File(folder / "1.h5", "w") as file:
            for name, values in datasets.items():
                file[name] = values

    return change


def claim(folder):
    with h5py.File(folder / "1.h5", "w") as file:
        file.create_dataset("number", (10**9,), "f4", chunks=(1000,))
        file.create_dataset("pair", (10**9, 2), "f4", chunks=(1000, 2))


def truncate(folder):
    content = (folder / "1.h5").read_bytes()
    (folder / "1.h5").write_bytes(content[: len(content) // 2])


PAIR = np.zeros((3, 2))
BREAKS = {
    r"1\.h5[\s\S]*has no dataset 'number'; it has pair, x": rewrite(x=[1], pair=PAIR),
    r"1\.h5[\s\S]*different numbers of rows: number 2, pair 3": rewrite(number=[1, 2], pair=PAIR),
    r"1\.h5[\s\S]*rows of shape number \(\), pair \(3,\); those of": rewrite(
        number=[1, 2], pair=np.zeros((2, 3))
    ),
    r"dataset 'number' has no rows": rewrite(number=np.zeros(0), pair=PAIR),
    r"it must be numbers": rewrite(number=["a", "b", "c"], pair=PAIR),
    r"dataset 'number' claims shape \(1000000000,\)": claim,
    r"1\.h5[\s\S]*not a readable HDF5 file": truncate,
    r"1\.h5[\s\S]*no such HDF5 file[\s\S]*current directory": lambda f: (f / "1.h5").unlink(),
    r"list is empty|list of HDF5 files is empty": lambda f: (f / "list.txt").write_text(" \n"),
    r"no such list of HDF5 files": lambda f: (f / "list.txt").unlink(),
    r"is an HDF5 file; source must be a list": lambda f: (f / "0.h5").rename(f / "list.txt"),
}


@pytest.mark.parametrize("message", BREAKS)
def test_bad_files_are_named_when_the_net_is_built(files, message):
    BREAKS[message](files)
    with pytest.raises(DataError, match=message):
        make_net(files)
