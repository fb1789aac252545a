"""caffe-spn detect: windows of a real picture, both outputs, what is refused."""

import csv
import sys
import types

import h5py
import numpy as np
import pytest
from skimage import data
from skimage.io import imsave

import caffe_spn as caffe
from caffe_spn.tools import main as cli
from tests.tools.cli import caffe_spn
from tests.tools.image_nets import write_net

WINDOWS = """filename, xmin, ymin, xmax, ymax
cat.png,10,20,42,52
cup.png,0,0,32,32
cat.png,30,5,62,37
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    imsave("cat.png", data.chelsea()[::3, ::3])
    imsave("cup.png", data.coffee()[::3, ::3])
    (tmp_path / "windows.csv").write_text(WINDOWS)
    return write_net(tmp_path)


def colours(name, top, left):
    crop = caffe.io.load_image(name)[top : top + 32, left : left + 32]
    return 255 * crop.mean(axis=(0, 1))[::-1]


def expected():
    # The windows of one picture stand together.
    return [colours("cat.png", 20, 10), colours("cat.png", 5, 30), colours("cup.png", 0, 0)]


def test_a_table(net, tmp_path):
    result = caffe_spn(tmp_path, "detect", *net, "--context_pad=0", "windows.csv", "found.csv")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("CPU mode\nLoading input...\nProcessed 3 windows in ")
    with open("found.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "filename", "ymin", "xmin", "ymax", "xmax", "class0", "class1", "class2",
    ]  # fmt: skip
    assert [list(row.values())[:5] for row in rows] == [
        ["cat.png", "20", "10", "52", "42"],
        ["cat.png", "5", "30", "37", "62"],
        ["cup.png", "0", "0", "32", "32"],
    ]
    got = [[float(row[f"class{k}"]) for k in range(3)] for row in rows]
    np.testing.assert_allclose(got, expected(), rtol=1e-4)


def test_hdf5_and_a_mean_image(net):
    mean = np.arange(3 * 4, dtype=np.float32).reshape(3, 2, 2)
    np.save("mean.npy", mean)
    assert cli.main([
        "detect", *net, "--context_pad", "0", "--mean_file", "mean.npy", "windows.csv", "found.h5",
    ]) == 0  # fmt: skip
    with h5py.File("found.h5") as file:
        assert file["filename"].asstr()[:].tolist() == ["cat.png", "cat.png", "cup.png"]
        assert file["window"][0].tolist() == [20, 10, 52, 42]
        want = expected() - mean.mean(axis=(1, 2))
        np.testing.assert_allclose(file["prediction"][:, :, 0, 0], want, rtol=1e-4)


def test_selective_search(net, tmp_path, monkeypatch, capsys):
    (tmp_path / "images.txt").write_text("cat.png\n\n")
    command = ["detect", *net, "--context_pad", "8", "images.txt", "found.csv"]
    assert cli.main(command) == 1
    assert "MATLAB" in capsys.readouterr().err
    package = types.SimpleNamespace(get_windows=lambda paths, cmd: [[(0, 0, 9, 9)]])
    monkeypatch.setitem(sys.modules, "selective_search_ijcv_with_python", package)
    assert cli.main(command) == 0
    assert (tmp_path / "found.csv").read_text().splitlines()[1].startswith(f"{tmp_path}/cat.png,0,")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filename,xmin\n", "windows.csv:1\n  has no column ymin, ymax, xmax"),
        ("", "windows.csv:1\n  has no column filename, ymin"),
        (WINDOWS + "a,1,2,x,4\n", "windows.csv:5\n  ymin, xmin, ymax, xmax must be numbers"),
        (WINDOWS + "a,1\n", "windows.csv:5\n  ymin, xmin, ymax, xmax must be numbers"),
        (WINDOWS.splitlines()[0], "windows.csv\n  has no window"),
    ],
    ids=["columns", "empty", "word", "short line", "no line"],
)
def test_broken_tables(net, tmp_path, capsys, text, message):
    (tmp_path / "windows.csv").write_text(text)
    assert cli.main(["detect", *net, "windows.csv", "found.csv"]) == 1
    assert message in capsys.readouterr().err


def test_refuses(net, tmp_path, capsys):
    def refused(*arguments):
        assert cli.main(["detect", *net, *arguments]) == 1
        return capsys.readouterr().err

    assert "found.txt\n  is neither a .csv nor a .h5 file" in refused("windows.csv", "found.txt")
    assert "is neither a .csv nor a .txt file" in refused("cat.png", "found.csv")
    (tmp_path / "images.txt").write_text("\n")
    assert "images.txt\n  names no image" in refused("images.txt", "found.csv")
    (tmp_path / "images.txt").write_text("cat.png\n")
    assert "needs the windows in a .csv" in refused("--crop_mode", "list", "images.txt", "x.csv")
    assert "context_pad 16 does not fit an input of 32 x 32" in refused("windows.csv", "x.csv")
    assert "No such file" in refused("none.csv", "x.csv")
    assert "the folder no is not there" in refused("windows.csv", "no/where.csv")
