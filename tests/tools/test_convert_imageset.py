"""caffe-spn convert_imageset on scikit-image's pictures and small random ones."""

import io
import os
import shutil
import signal
import subprocess

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures

from caffe_spn.data.db import open_db
from caffe_spn.data.images import read_image, resize
from caffe_spn.proto import caffe_pb2
from caffe_spn.tools import main as cli
from tests.tools.cli import caffe_spn, command, error

pytest.importorskip("lmdb")


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Five random images of one size, and a list of them, in the current directory."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "im").mkdir()
    for n in range(5):
        pixels = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"im/{n}.png")
    (tmp_path / "list.txt").write_text("".join(f"{n}.png {10 + n}\n" for n in range(5)))
    return tmp_path


def run(*arguments, code=0):
    assert cli.main(["convert_imageset", *arguments, "im/", "list.txt", "db"]) == code


def datums(path="db", backend="lmdb"):
    return {
        key.decode(): caffe_pb2.Datum.FromString(value)
        for key, value in open_db(path, backend).records()
    }


def test_real_pictures(tmp_path):
    names = ("astronaut", "camera", "coffee")
    for name in names:
        Image.fromarray(getattr(pictures, name)()).save(tmp_path / f"{name}.png")
    (tmp_path / "list.txt").write_text("".join(f"{n}.png {k}\n" for k, n in enumerate(names)))
    size = ("--resize_height=64", "-resize_width", "80")
    result = caffe_spn(tmp_path, "convert_imageset", *size, f"{tmp_path}/", "list.txt", "db")
    assert result.returncode == 0, result.stderr
    assert "A total of 3 images." in result.stderr
    assert "Processed 3 files." in result.stderr
    found = datums(tmp_path / "db")
    assert list(found) == [f"{k:08d}_{n}.png" for k, n in enumerate(names)]
    for k, (name, datum) in enumerate(zip(names, found.values(), strict=True)):
        assert (datum.channels, datum.height, datum.width, datum.label) == (3, 64, 80, k)
        want = resize(read_image(tmp_path / f"{name}.png"), 64, 80)
        assert datum.data == np.moveaxis(want, 2, 0).tobytes()
        assert datum.HasField("encoded") and not datum.encoded


def test_grey(images):
    run("-gray")
    datum = datums()["00000003_3.png"]
    assert (datum.channels, datum.height, datum.width, datum.label) == (1, 6, 9, 13)
    assert datum.data == read_image("im/3.png", color=False).tobytes()


def test_shuffled_images_keep_their_labels(images):
    (images / "list.txt").write_text("".join(f"{n % 5}.png {n % 5}\n" for n in range(40)))
    run("--shuffle")
    found = datums()
    assert [key[:8] for key in found] == [f"{n:08d}" for n in range(40)]
    assert all(key == f"{key[:8]}_{datum.label}.png" for key, datum in found.items())
    assert [d.label for d in found.values()] != [n % 5 for n in range(40)]


def test_encoded_files_are_kept_as_they_are(images):
    run("--encoded=true")
    for n, datum in enumerate(datums().values()):
        assert datum.encoded and datum.label == 10 + n and not datum.HasField("height")
        assert datum.data == (images / "im" / f"{n}.png").read_bytes()


def test_files_are_encoded_anew_where_they_must(images):
    run("--encode_type", "jpg")
    for datum in datums().values():
        with Image.open(io.BytesIO(datum.data)) as image:
            assert image.format == "JPEG" and image.size == (9, 6)
    shutil.rmtree("db")
    run("--encoded", "--gray")
    for n, datum in enumerate(datums().values()):
        with Image.open(io.BytesIO(datum.data)) as image:
            assert image.format == "PNG" and image.mode == "L"
            np.testing.assert_array_equal(np.asarray(image), read_image(f"im/{n}.png", color=False))
    shutil.rmtree("db")
    run("--encoded", "--resize_width", "4", "--resize_height", "3")
    with Image.open(io.BytesIO(datums()["00000000_0.png"].data)) as image:
        want = resize(read_image("im/0.png"), 3, 4)[:, :, ::-1]
        np.testing.assert_array_equal(np.asarray(image), want)


def test_leveldb(images):
    pytest.importorskip("plyvel")
    run("-backend", "leveldb", "--noshuffle", "--gray=false")
    assert len(datums(backend="leveldb")) == 5


def test_an_unreadable_image_is_named_and_left_out(images):
    (images / "im/2.png").write_text("no image")
    result = caffe_spn(images, "convert_imageset", "im/", "list.txt", "db")
    assert result.returncode == 0
    assert "Could not open or find file im/2.png" in result.stderr
    assert "1 images could not be read" in result.stderr
    assert list(datums()) == [f"{n:08d}_{n}.png" for n in (0, 1, 3, 4)]


def test_images_of_another_size_are_found(images, capsys):
    Image.new("RGB", (7, 6)).save("im/3.png")
    run()
    shutil.rmtree("db")
    run("--check_size", code=1)
    message = capsys.readouterr().err
    assert "list.txt:4: im/3.png\n  is (3, 6, 7)" in message and "--resize_width" in message
    assert not os.path.exists("db") and not os.path.exists("db.partial")


def test_a_killed_conversion_leaves_no_database(images):
    (images / "list.txt").write_text("0.png 0\n" * 20000)
    words = command("convert_imageset", "im/", "list.txt", "db")
    with subprocess.Popen(words, cwd=images, stderr=subprocess.PIPE) as process:
        while b"Processed 1000 files." not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert not os.path.exists("db")
    (images / "list.txt").write_text("0.png 0\n")
    run()
    assert len(datums()) == 1 and not os.path.exists("db.partial")


def test_nothing_is_overwritten(images):
    (images / "db").mkdir()
    assert "db\n  exists already" in error(images, "convert_imageset", "im/", "list.txt", "db")


@pytest.mark.parametrize(
    "words, listed, code, message",
    [
        (("--resize_width", "4"), "0.png 0\n", 2, "give both --resize_width and --resize_height"),
        (("--backend", "redis"), "0.png 0\n", 2, "invalid choice: 'redis'"),
        (("--encode_type", "docx"), "0.png 0\n", 1, "none of its images could be read"),
        ((), "none.png 0\n", 1, "none of its images could be read"),
        ((), "0.png\n", 1, "'0.png' is not 'path label'"),
    ],
)
def test_what_cannot_be_done_is_said(images, capsys, words, listed, code, message):
    (images / "list.txt").write_text(listed)
    run(*words, code=code)
    assert message in capsys.readouterr().err
    assert not os.path.exists("db")
