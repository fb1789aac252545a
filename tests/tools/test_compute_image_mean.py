"""caffe-spn compute_image_mean on scikit-image's pictures and small random ones."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures

from caffe_spn.data.transformer import read_mean
from caffe_spn.io import array_to_datum
from caffe_spn.proto import caffe_pb2
from caffe_spn.tools import main as cli
from tests.data.databases import BACKENDS, images, write, write_images
from tests.tools.cli import caffe_spn


def printed(stderr):
    return [float(v) for v in re.findall(r"mean_value channel \[\d\]: (\S+)", stderr)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_mean_of_real_pictures(tmp_path, backend):
    crops = [np.moveaxis(pictures.astronaut()[y : y + 64, 80:144], 2, 0) for y in (0, 90, 200)]
    write_images(tmp_path / "db", crops, backend)
    result = caffe_spn(
        tmp_path, "compute_image_mean", "-backend", backend, "db", "mean.binaryproto"
    )
    assert result.returncode == 0, result.stderr
    want = np.mean(crops, axis=0)
    np.testing.assert_allclose(read_mean(tmp_path / "mean.binaryproto"), want, rtol=1e-6)
    blob = caffe_pb2.BlobProto.FromString((tmp_path / "mean.binaryproto").read_bytes())
    assert (blob.num, blob.channels, blob.height, blob.width) == (1, 3, 64, 64)
    np.testing.assert_allclose(printed(result.stderr), want.mean(axis=(1, 2)), rtol=1e-5)
    assert "Number of channels: 3" in result.stderr and "Processed 3 files." in result.stderr


def test_without_an_output_file_it_prints_only(tmp_path):
    arrays = images(4, (1, 5, 6)) / 7.0
    write_images(tmp_path / "db", arrays)
    result = caffe_spn(tmp_path, "compute_image_mean", "db")
    np.testing.assert_allclose(printed(result.stderr), [arrays.mean()], rtol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["db"]


def test_image_files_are_decoded(tmp_path):
    arrays = images(3, (6, 8, 3))
    records = []
    for n, array in enumerate(arrays):
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, "PNG")
        datum = caffe_pb2.Datum(data=stream.getvalue(), encoded=True)
        records.append((b"%d" % n, datum.SerializeToString()))
    write(tmp_path / "db", records)
    result = caffe_spn(tmp_path, "compute_image_mean", "db")
    assert "Decoding Datum" in result.stderr
    want = arrays[:, :, :, ::-1].mean(axis=(0, 1, 2))
    np.testing.assert_allclose(printed(result.stderr), want, rtol=1e-5)


def failed(capsys, *arguments):
    assert cli.main(["compute_image_mean", *map(str, arguments)]) == 1
    return capsys.readouterr().err


def test_images_of_several_sizes_are_refused_by_key(tmp_path, capsys):
    write_images(tmp_path / "db", [images(1)[0], images(1, (3, 6, 7))[0]])
    message = failed(capsys, tmp_path / "db", tmp_path / "mean")
    assert "db: key '00000001_1'\n  is (3, 6, 7)" in message
    assert not (tmp_path / "mean").exists()


def test_bad_databases_are_named(tmp_path, capsys):
    assert "none\n  no such database" in failed(capsys, tmp_path / "none")
    write(tmp_path / "empty", [])
    assert "the database is empty" in failed(capsys, tmp_path / "empty")
    good = array_to_datum(images(1)[0]).SerializeToString()
    write(tmp_path / "bad", [(b"a", good), (b"b", b"\xff")])
    message = failed(capsys, tmp_path / "bad")
    assert "bad: key 'b'\n  its 1 bytes are not a Datum" in message
    assert "kind LMDB, not LEVELDB" in failed(capsys, "-backend=leveldb", tmp_path / "bad")
