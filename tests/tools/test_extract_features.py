"""caffe-spn extract_features: blobs of a net over real pictures, into each kind of database."""

import h5py
import numpy as np
import pytest
from skimage import data
from skimage.io import imsave

import caffe_spn as caffe
from caffe_spn.data.db import open_db
from caffe_spn.proto import caffe_pb2
from caffe_spn.tools import main as cli
from tests.tools.cli import caffe_spn

NET = """
layer { name: "data" type: "ImageData" top: "data" top: "label"
  image_data_param { source: "list.txt" batch_size: 2 new_height: 12 new_width: 16 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "long" type: "Reshape" bottom: "conv" top: "long"
  reshape_param { shape { dim: 0 dim: 1 dim: 2 dim: 5 dim: -1 } } }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    imsave("cat.png", data.chelsea()[::6, ::6])
    imsave("cup.png", data.coffee()[::8, ::8])
    imsave("coins.png", data.coins()[::6, ::6])
    (tmp_path / "list.txt").write_text("cat.png 0\ncup.png 1\ncoins.png 2\n")
    (tmp_path / "net.prototxt").write_text(NET)
    caffe.set_random_seed(1)
    caffe.Net("net.prototxt", caffe.TEST).save("net.caffemodel")
    return tmp_path


def expected(name, batches):
    net = caffe.Net("net.prototxt", caffe.TEST, weights="net.caffemodel")
    return np.concatenate([net.forward(blobs=[name])[name].copy() for _ in range(batches)])


def records(path, kind):
    keys, arrays = [], []
    for key, value in open_db(path, kind).records():
        keys.append(key)
        arrays.append(caffe.io.datum_to_array(caffe_pb2.Datum.FromString(value)))
    return keys, np.array(arrays)


def test_two_blobs_into_lmdb(folder):
    pytest.importorskip("lmdb")
    result = caffe_spn(
        folder, "extract_features", "net.caffemodel", "net.prototxt", "conv,fc", "a_db,b_db",
        "3", "lmdb", "CPU",
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    lines = [line.split("] ", 1)[1] for line in result.stderr.splitlines()]
    assert lines[-3:] == [
        "Extracted features of 6 query images for feature blob conv",
        "Extracted features of 6 query images for feature blob fc",
        "Successfully extracted the features!",
    ]
    keys, maps = records("a_db", "lmdb")
    assert keys == [b"%010d" % number for number in range(6)]
    np.testing.assert_allclose(maps, expected("conv", 3), rtol=1e-6)
    _, vectors = records("b_db", "lmdb")
    assert vectors.shape == (6, 5, 1, 1)
    np.testing.assert_allclose(vectors[:, :, 0, 0], expected("fc", 3), rtol=1e-6)


def test_leveldb(folder, capsys):
    pytest.importorskip("plyvel")
    command = ["extract_features", "net.caffemodel", "net.prototxt", "fc", "db", "2", "LEVELDB"]
    assert cli.main(command) == 0
    keys, vectors = records("db", "leveldb")
    assert len(keys) == 4
    np.testing.assert_allclose(vectors[:, :, 0, 0], expected("fc", 2), rtol=1e-6)


def test_hdf5_is_what_a_data_layer_reads(folder, capsys):
    command = ["extract_features", "net.caffemodel", "net.prototxt", "long", "x.h5", "2", "hdf5"]
    assert cli.main(command) == 0
    want = expected("long", 2)
    with h5py.File("x.h5") as file:
        assert list(file) == ["long"]
        np.testing.assert_array_equal(file["long"], want)
    (folder / "files.txt").write_text("x.h5\n")
    (folder / "read.prototxt").write_text(
        'layer { name: "d" type: "HDF5Data" top: "long"'
        '  hdf5_data_param { source: "files.txt" batch_size: 4 } }'
    )
    got = caffe.Net("read.prototxt", caffe.TEST).forward()["long"]
    np.testing.assert_array_equal(got, want)


def test_refuses(folder, capsys):
    def refused(*arguments, code=1):
        command = ["extract_features", "net.caffemodel", "net.prototxt", *arguments]
        assert cli.main(command) == code
        return capsys.readouterr().err

    assert "2 blobs are to go to 1 databases" in refused("conv,fc", "db", "1", "lmdb")
    shown = refused("fcc", "db", "1", "hdf5")
    assert "Unknown feature blob name fcc" in shown and "did you mean 'fc'?" in shown
    assert "blob loss is one number" in refused("loss", "db", "1", "hdf5")
    assert "GPU" in refused("fc", "db", "1", "hdf5", "GPU", "DEVICE_ID=0")
    assert "invalid choice" in refused("fc", "db", "1", "sqlite", code=2)
    (folder / "x.h5").write_text("precious")
    assert "x.h5\n  exists already" in refused("fc", "x.h5", "1", "hdf5")
    assert (folder / "x.h5").read_text() == "precious"


def test_a_blob_that_no_datum_holds_leaves_nothing(folder, capsys):
    pytest.importorskip("lmdb")
    command = ["extract_features", "net.caffemodel", "net.prototxt", "long", "db", "2", "lmdb"]
    assert cli.main(command) == 1
    assert "blob long is (2, 1, 2, 5, 28); a Datum holds" in capsys.readouterr().err
    assert not list(folder.glob("db*"))
