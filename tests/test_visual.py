"""Palette PNG files and pictures side by side."""

import numpy as np
import pytest
from PIL import Image

from caffe_spn.data.images import read_label
from caffe_spn.data.voc import voc_palette
from caffe_spn.errors import DataError, ShapeError
from caffe_spn.visual import colorize, overlay, side_by_side, write_label_png, write_picture

LABELS = np.array([[0, 1, 20], [255, 2, 2]], np.uint8)


def test_label_png_keeps_indices_and_colours(tmp_path):
    path = tmp_path / "labels.png"
    write_label_png(path, LABELS.astype(np.int64))
    np.testing.assert_array_equal(read_label(path), LABELS)
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), colorize(LABELS))
    assert tuple(colorize(LABELS)[0, 1]) == (128, 0, 0)


def test_a_short_palette_is_completed(tmp_path):
    path = tmp_path / "labels.png"
    palette = np.array([[9, 8, 7]])
    write_label_png(path, LABELS, palette)
    with Image.open(path) as image:
        colors = np.reshape(image.getpalette(), (-1, 3))
    np.testing.assert_array_equal(colors[0], [9, 8, 7])
    np.testing.assert_array_equal(colors[1:], voc_palette()[1 : len(colors)])


def test_labels_that_no_png_can_hold(tmp_path):
    with pytest.raises(DataError, match="labels go from 0 to 256"):
        write_label_png(tmp_path / "x.png", LABELS.astype(int) * 0 + [[0, 1, 256]])
    with pytest.raises(ShapeError, match=r"a label map is \(height, width\)"):
        write_label_png(tmp_path / "x.png", np.zeros((2, 2, 3), np.uint8))


def test_overlay_mixes_image_and_colours():
    image = np.full((2, 3, 3), 100, np.uint8)
    np.testing.assert_array_equal(overlay(image, LABELS, opacity=0), image)
    np.testing.assert_array_equal(overlay(image, LABELS, opacity=1), colorize(LABELS))
    assert overlay(image, LABELS, opacity=0.5)[0, 1, 0] == 114
    with pytest.raises(ShapeError, match=r"the image is \(2, 3\), the labels are \(3, 2\)"):
        overlay(image, LABELS.T)


def test_side_by_side(tmp_path):
    red = np.full((30, 50, 3), [255, 0, 0], np.uint8)
    blue = np.full((30, 50, 3), [0, 0, 255], np.uint8)
    row = side_by_side([("left", red), ("right", blue)])
    assert row.shape == (20 + 30, 50 + 4 + 50, 3)
    np.testing.assert_array_equal(row[20:, :50], red)
    np.testing.assert_array_equal(row[20:, 54:], blue)
    assert (row[:20, :50] < 128).any(), "the caption is missing"
    write_picture(tmp_path / "row.png", row)
    with Image.open(tmp_path / "row.png") as image:
        np.testing.assert_array_equal(np.asarray(image), row)


def test_large_pictures_are_reduced():
    row = side_by_side([("a", np.zeros((100, 400, 3), np.uint8))], long_side=40)
    assert row.shape == (20 + 10, 40, 3)


def test_pictures_of_two_sizes_are_refused():
    with pytest.raises(ShapeError, match="must be of one size"):
        side_by_side([("a", np.zeros((3, 4, 3))), ("b", np.zeros((4, 3, 3)))])
