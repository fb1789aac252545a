"""caffe-spn classify: files, folders and arrays of real pictures, options, what is refused."""

import numpy as np
import pytest
from skimage import data
from skimage.io import imsave

import caffe_spn as caffe
from caffe_spn.tools import main as cli
from tests.tools.cli import caffe_spn, error
from tests.tools.image_nets import write_net

MEAN = np.array([10, 20, 30], np.float32)


@pytest.fixture
def net(tmp_path, monkeypatch):
    """The options that name a network, in a folder with three pictures."""
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    imsave(photos / "b_cat.png", data.chelsea()[::3, ::3])
    imsave(photos / "a_cup.png", data.coffee()[::3, ::3])
    imsave(photos / "c_grey.png", data.camera()[::4, ::4])
    return write_net(tmp_path)


def colours(path, side=32, crop=True):
    """What the network gives without a mean: mean blue, green and red of the centre."""
    image = caffe.io.resize_image(caffe.io.load_image(path), (side, side))
    top = (side - 32) // 2
    return 255 * image[top : top + 32, top : top + 32].mean(axis=(0, 1))[::-1]


def test_a_folder(net, tmp_path):
    result = caffe_spn(
        tmp_path, "classify", *net, "--center_only", "-images_dim", "48,48", "--ext", "png",
        "photos", "out.npy"
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("CPU mode\nLoading folder: photos\nClassifying 3 inputs.\nDone")
    assert result.stdout.endswith(" s.\nSaving results into out.npy\n")
    names = ("a_cup", "b_cat", "c_grey")
    want = [colours(tmp_path / f"photos/{name}.png", 48) for name in names]
    np.testing.assert_allclose(np.load("out.npy")[:, :, 0, 0], want, rtol=1e-4)


def test_one_picture_with_a_mean(net, tmp_path):
    np.save("mean.npy", MEAN)
    assert cli.main([
        "classify", *net, "--images_dim=32,32", "--mean_file", "mean.npy", "--input_scale", "0.5",
        "photos/b_cat.png", "out.npy",
    ]) == 0  # fmt: skip
    want = 0.5 * (colours(tmp_path / "photos/b_cat.png") - MEAN)
    np.testing.assert_allclose(np.load("out.npy"), [want], rtol=1e-4)


def test_a_mean_as_caffe_writes_it(net, tmp_path):
    blob = caffe.io.array_to_blobproto(MEAN.reshape(1, 3, 1, 1) * np.ones((1, 3, 32, 32)))
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    assert cli.main([
        "classify", *net, "--images_dim=32,32", "--mean_file", "mean.binaryproto",
        "photos/b_cat.png", "out.npy",
    ]) == 0  # fmt: skip
    want = colours(tmp_path / "photos/b_cat.png") - MEAN
    np.testing.assert_allclose(np.load("out.npy"), [want], rtol=1e-4)


def test_an_array_without_preparation(net):
    images = np.random.default_rng(0).random((7, 32, 32, 3)).astype(np.float32)
    np.save("images.npy", images)
    assert cli.main([
        "classify", *net, "--images_dim", "32,32", "--channel_swap", "", "--raw_scale", "1",
        "images.npy", "out.npy",
    ]) == 0  # fmt: skip
    np.testing.assert_allclose(np.load("out.npy"), images.mean(axis=(1, 2)), rtol=1e-4)


def test_refuses(net, tmp_path, capsys):
    assert "there is no *.jpg" in error(tmp_path, "classify", *net, "photos", "out.npy")

    def refused(*arguments, code=1):
        assert cli.main(["classify", *net, *arguments, "photos/b_cat.png", "out.npy"]) == code
        return capsys.readouterr().err

    assert "GPU" in refused("--gpu")
    assert "none.npy\n  there is no such file" in refused("--mean_file", "none.npy")
    assert "is no array of NumPy" in refused("--mean_file", "photos/b_cat.png")
    assert "'5' is not height,width" in refused("--images_dim", "5", code=2)
    assert "'2,x' is not a list of channels" in refused("--channel_swap", "2,x", code=2)
    assert cli.main(["classify", *net, "photos", "no/where.npy"]) == 1
    assert "no/where.npy\n  the folder no is not there" in capsys.readouterr().err
    np.save("images.npy", np.ones((2, 2)))
    assert cli.main(["classify", *net, "images.npy", "out.npy"]) == 1
    assert "has the shape (2, 2)" in capsys.readouterr().err
    assert cli.main(["classify", *net, "none.jpg", "out.npy"]) == 1
    assert "none.jpg\n  no such image" in capsys.readouterr().err
