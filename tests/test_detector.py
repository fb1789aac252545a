"""Detector: windows, context around them against a plain loop, errors."""

import sys
import types

import numpy as np
import pytest
from skimage import data
from skimage.io import imsave

import caffe_spn as caffe
from caffe_spn import CaffeSpnError, DataError

# One number a channel: the mean of the input.
DEPLOY = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 12 dim: 12 } } }
layer { name: "mean" type: "Pooling" bottom: "data" top: "mean"
  pooling_param { pool: AVE global_pooling: true } }
"""
MEAN = np.array([10.0, 20.0, 30.0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    (folder / "deploy.prototxt").write_text(DEPLOY)
    caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST).save(str(folder / "net.caffemodel"))
    imsave(folder / "cup.png", data.coffee()[::8, ::8])
    imsave(folder / "cat.png", data.chelsea()[::6, ::6])
    return folder


def make(folder, **settings):
    return caffe.Detector(
        str(folder / "deploy.prototxt"), str(folder / "net.caffemodel"), **settings
    )


def test_each_window_is_classified(folder):
    detector = make(folder, mean=MEAN, raw_scale=255, channel_swap=(2, 1, 0), input_scale=2)
    cup, cat = str(folder / "cup.png"), str(folder / "cat.png")
    pairs = [(cup, [(0, 0, 12, 12), (5, 7, 17, 19)]), (cat, np.array([[20, 30, 32, 42]]))]
    found = detector.detect_windows(iter(pairs))
    assert [d["filename"] for d in found] == [cup, cup, cat]
    assert [tuple(d["window"]) for d in found] == [(0, 0, 12, 12), (5, 7, 17, 19), (20, 30, 32, 42)]
    for detection in found:
        top, left, bottom, right = detection["window"]
        crop = caffe.io.load_image(detection["filename"])[top:bottom, left:right]
        want = (crop.mean(axis=(0, 1))[::-1] * 255 - MEAN) * 2
        np.testing.assert_allclose(detection["prediction"].ravel(), want, rtol=1e-5)


def expected_context(image, window, pad, mean, size=12):
    """R-CNN's crop, one edge after the other."""
    zoom = size / (size - 2 * pad)
    low, high, offset, extent = [], [], [], []
    for axis in (0, 1):
        half = (window[2 + axis] - window[axis] + 1) / 2
        center = window[axis] + half
        a, b = round(center - zoom * half), round(center + zoom * half)
        scale = size / (b - a + 1)
        offset.append(round(max(0, -a) * scale))
        limit = image.shape[axis]
        a, b = min(max(a, 0), limit), min(max(b, 0), limit)
        extent.append(min(round((b - a + 1) * scale), size - offset[axis]))
        low.append(a)
        high.append(b)
    crop = np.tile(np.asarray(mean, np.float32), (size, size, 1))
    inside = caffe.io.resize_image(image[low[0] : high[0], low[1] : high[1]], extent)
    crop[offset[0] : offset[0] + extent[0], offset[1] : offset[1] + extent[1]] = inside
    return crop


@pytest.mark.parametrize(
    "window",
    [(10, 20, 30, 44), (0, 0, 9, 12), (40, 60, 50, 75), (3, 30, 45, 40), (7, 9, 7, 9)],
    ids=["inside", "corner", "other corner", "tall", "one pixel"],
)
def test_context(folder, window):
    detector = make(folder, mean=MEAN, raw_scale=255, channel_swap=(2, 1, 0), context_pad=3)
    image = caffe.io.load_image(folder / "cat.png")
    got = detector.crop(image, np.array(window))
    np.testing.assert_allclose(got, expected_context(image, window, 3, MEAN[::-1] / 255), atol=1e-6)


def test_mean_images_and_no_mean_fill_the_border(folder):
    image = caffe.io.load_image(folder / "cat.png")
    window = (0, 0, 9, 12)
    grey = np.arange(3 * 12 * 12, dtype=np.float32).reshape(3, 12, 12)
    detector = make(folder, mean=grey, context_pad=2)
    np.testing.assert_array_equal(detector.crop_mean, grey.transpose(1, 2, 0))
    assert (detector.crop(image, window)[0] == grey[:, 0].T).all()
    assert (make(folder, context_pad=2).crop(image, window)[0] == 0).all()


def test_configure_crop_changes_a_detector(folder):
    detector = make(folder)
    image = caffe.io.load_image(folder / "cat.png")
    assert detector.crop(image, (0, 0, 9, 12)).shape == (9, 12, 3)
    detector.configure_crop(4)
    assert detector.crop(image, (0, 0, 9, 12)).shape == (12, 12, 3)
    assert list(detector.crop_dims) == [12, 12, 3]


def test_context_must_fit(folder):
    with pytest.raises(DataError, match="context_pad 6 does not fit an input of 12 x 12"):
        make(folder, context_pad=6)


@pytest.mark.parametrize("context_pad", [None, 2])
def test_a_window_outside_the_image(folder, context_pad):
    cup = str(folder / "cup.png")
    detector = make(folder, context_pad=context_pad)
    with pytest.raises(DataError, match=r"cup\.png\n.*\(200, 0, 210, 9\) has no pixel.* 50 x 75"):
        detector.detect_windows([(cup, [(200, 0, 210, 9)])])


def test_selective_search_needs_its_package(folder):
    with pytest.raises(CaffeSpnError, match=r"MATLAB[\s\S]*help: .*detect_windows"):
        make(folder).detect_selective_search([str(folder / "cup.png")])


def test_selective_search(folder, monkeypatch):
    asked = []

    def get_windows(paths, cmd):
        asked.append((paths, cmd))
        return [[(0, 0, 9, 9)] for _ in paths]

    package = types.SimpleNamespace(get_windows=get_windows)
    monkeypatch.setitem(sys.modules, "selective_search_ijcv_with_python", package)
    monkeypatch.chdir(folder)
    found = make(folder).detect_selective_search(["cup.png", "cat.png"])
    paths = [str(folder / "cup.png"), str(folder / "cat.png")]
    assert asked == [(paths, "selective_search_rcnn")]
    assert [d["filename"] for d in found] == paths
