"""caffe-spn resize_and_crop_images: real pictures to squares, lists, broken files."""

import numpy as np
import pytest
from PIL import Image
from skimage import data
from skimage.io import imsave

from caffe_spn.data.images import read_image, resize
from caffe_spn.tools import main as cli
from tests.tools.cli import caffe_spn

ARGUMENTS = ("--input_folder", "photos", "--output_folder", "squares", "--output_side_length", "40")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    (folder / "n01").mkdir(parents=True)
    imsave(folder / "n01/cat.png", data.chelsea()[::2, ::2])  # wide
    imsave(folder / "n01/page 1.png", data.page()[:150, :60], check_contrast=False)  # tall, grey
    imsave(folder / "cup.jpg", data.coffee()[::4, ::4])
    (folder / "notes.txt").write_text("no image")
    return folder


def written(tmp_path):
    return sorted(
        str(p.relative_to(tmp_path / "squares")) for p in tmp_path.rglob("squares/**/*.*")
    )


def test_a_folder(photos, tmp_path):
    result = caffe_spn(tmp_path, "resize_and_crop_images", *ARGUMENTS, "--num_clients", "2")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "3 of 3 images are in squares\n"
    assert written(tmp_path) == ["cup.jpg", "n01/cat.png", "n01/page 1.png"]
    cat = read_image(photos / "n01/cat.png")
    assert cat.shape[:2] == (150, 226)
    want = resize(cat, 40, 40 * 226 // 150)[:, 10:50]
    np.testing.assert_array_equal(read_image("squares/n01/cat.png"), want)
    page = resize(read_image(photos / "n01/page 1.png"), 100, 40)[30:70]
    np.testing.assert_array_equal(read_image("squares/n01/page 1.png"), page)


def test_a_list_with_labels(photos, tmp_path, capsys):
    (tmp_path / "list.txt").write_text(f"n01/page 1.png 3\n\n{photos}/cup.jpg\n")
    assert cli.main(["resize_and_crop_images", *ARGUMENTS, "--input", "list.txt"]) == 0
    assert written(tmp_path) == ["cup.jpg", "n01/page 1.png"]


def test_smoothing(photos, tmp_path, capsys):
    assert cli.main(["resize_and_crop_images", *ARGUMENTS, "--image_lib=PIL"]) == 0
    square = np.asarray(Image.open("squares/n01/cat.png"), np.float64)
    assert square.shape == (40, 40, 3)
    middle = data.chelsea()[::2, ::2][:, 38:188].astype(np.float64)
    np.testing.assert_allclose(square.mean(axis=(0, 1)), middle.mean(axis=(0, 1)), atol=1)


@pytest.mark.parametrize(("library", "quality"), [("opencv", 95), ("pil", 75)])
def test_a_jpeg_has_the_quality_that_caffe_writes(library, quality, photos, tmp_path, capsys):
    assert cli.main(["resize_and_crop_images", *ARGUMENTS, "--image_lib", library]) == 0
    Image.new("RGB", (8, 8)).save("same.jpg", quality=quality)
    assert Image.open("squares/cup.jpg").quantization == Image.open("same.jpg").quantization


def test_a_broken_image_is_named_and_the_others_are_made(photos, tmp_path, capsys):
    (photos / "broken.png").write_bytes(b"\x89PNG")
    assert cli.main(["resize_and_crop_images", *ARGUMENTS]) == 1
    shown = capsys.readouterr()
    assert shown.out == "3 of 4 images are in squares\n"
    assert shown.err.startswith("photos/broken.png\n  cannot be decoded as an image")
    assert "broken.png" not in written(tmp_path)


def test_an_image_that_cannot_be_written(photos, tmp_path, capsys):
    (tmp_path / "squares").mkdir()
    (tmp_path / "squares/n01").write_text("a file")
    assert cli.main(["resize_and_crop_images", *ARGUMENTS]) == 1
    assert "squares/n01/cat.png\n  cannot be written: " in capsys.readouterr().err


def test_refuses(photos, tmp_path, capsys):
    def refused(*arguments):
        assert cli.main(["resize_and_crop_images", *arguments]) == 1
        return capsys.readouterr().err

    same = ("--input_folder", "photos", "--output_folder", "photos/../photos")
    assert "the output folder is the input folder" in refused(*same)
    assert "none\n  there is no such folder" in refused("--input_folder", "none", *ARGUMENTS[2:])
    (tmp_path / "empty").mkdir()
    assert "empty\n  holds no image" in refused("--input_folder", "empty", *ARGUMENTS[2:])
    assert "no such list" in refused(*ARGUMENTS, "--input", "none.txt")
    (tmp_path / "list.txt").write_text("\n")
    assert "the list of images is empty" in refused(*ARGUMENTS, "--input", "list.txt")
    assert cli.main(["resize_and_crop_images", *ARGUMENTS, "--output_side_length", "0"]) == 2
