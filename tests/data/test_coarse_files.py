import numpy as np
import pytest

from caffe_spn import DataError
from caffe_spn.data import coarse_files
from caffe_spn.data.coarse_files import CoarseFolder, read_coarse


@pytest.fixture
def prob():
    values = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    return values / values.sum(axis=0)


def write_npy(path, prob):
    np.save(path, prob)


def write_npz(path, prob):
    np.savez_compressed(path, other=np.zeros(2), prob=prob)


def write_h5(path, prob):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["only"] = prob


def write_mat(path, prob):
    from scipy.io import savemat

    savemat(path, {"coarse": np.moveaxis(prob, 0, 2)})


WRITERS = {"a.npy": write_npy, "a.npz": write_npz, "a.h5": write_h5, "a.mat": write_mat}


@pytest.mark.parametrize("name", WRITERS)
def test_each_kind_of_file(tmp_path, name, prob):
    WRITERS[name](tmp_path / name, prob)
    got = CoarseFolder(tmp_path, 3).read("a")
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, prob)


@pytest.mark.parametrize("matlab_order", [(1, 2, 0), (0, 1, 2)])
def test_mat_of_version_7_3_has_its_axes_reversed(tmp_path, prob, matlab_order):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["prob"] = prob.transpose(matlab_order).transpose()
    np.testing.assert_array_equal(read_coarse(tmp_path / "a.mat", 3), prob)


def test_bytes_are_shares_of_255(tmp_path):
    np.save(tmp_path / "a.npy", np.full((2, 3, 3), 51, np.uint8))
    np.testing.assert_allclose(read_coarse(tmp_path / "a.npy"), 0.2)


@pytest.mark.parametrize("name", WRITERS)
def test_a_broken_file_names_itself(tmp_path, name, prob):
    WRITERS[name](tmp_path / name, prob)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match=name):
        read_coarse(tmp_path / name, 3)


def test_pickles_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read as a coarse map"):
        read_coarse(tmp_path / "a.npy")


def test_a_huge_claim_is_refused(tmp_path, prob, monkeypatch):
    monkeypatch.setattr(coarse_files, "MAX_VALUES", 59)
    for name in ("a.h5", "a.mat"):
        WRITERS[name](tmp_path / name, prob)
        with pytest.raises(DataError, match="claims 60 values; at most 59"):
            read_coarse(tmp_path / name, 3)


MISFITS = [
    (np.zeros((2, 4, 5)), r"2 classes;[\s\S]*3 were expected"),
    (np.zeros((4, 5, 3)), "move the classes to the first axis"),
    (np.zeros((4, 5)), "a coarse map has the shape"),
    (np.full((3, 4, 5), -1.0), r"values from -1.0 to -1.0[\s\S]*softmax"),
    (np.full((3, 4, 5), np.nan), "values from nan"),
]


@pytest.mark.parametrize("values, message", MISFITS)
def test_misfits_are_told(tmp_path, values, message):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(DataError, match=message):
        read_coarse(tmp_path / "a.npy", 3)


def test_which_array_is_ambiguous(tmp_path):
    np.savez(tmp_path / "a.npz", u=np.zeros(2), v=np.zeros(2))
    with pytest.raises(DataError, match="holds arrays u, v; which one"):
        read_coarse(tmp_path / "a.npz")


def test_missing_files_and_kinds(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        CoarseFolder(tmp_path / "none", 3)
    with pytest.raises(DataError, match="'x' has no coarse map"):
        CoarseFolder(tmp_path, 3).path("x")
    with pytest.raises(DataError, match="unknown kind"):
        read_coarse(tmp_path / "a.txt")
