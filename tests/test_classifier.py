"""Classifier: crops and their averages against plain loops, arguments, errors."""

import numpy as np
import pytest
from skimage import data

import caffe_spn as caffe
from caffe_spn import DataError

DEPLOY = """
name: "colours"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 4 dim: 3 dim: 8 dim: 10 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 5 kernel_size: 3 stride: 2
    weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
MEAN = np.array([0.2, 0.4, 0.6])
SETTINGS = dict(mean=MEAN, input_scale=0.5, raw_scale=3.0, channel_swap=(2, 1, 0))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A deploy prototxt and weights."""
    folder = tmp_path_factory.mktemp("classifier")
    model, weights = folder / "deploy.prototxt", folder / "net.caffemodel"
    model.write_text(DEPLOY)
    caffe.set_random_seed(3)
    caffe.Net(str(model), caffe.TEST).save(str(weights))
    return str(model), str(weights)


@pytest.fixture(scope="module")
def images():
    """Real pictures, of different sizes."""
    cat, cup = data.chelsea()[::6, ::6] / 255, data.coffee()[::8, ::8] / 255
    return [cat.astype(np.float32), cup.astype(np.float32), cat[::-1].astype(np.float32)]


def expected(files, images, dims, corners, mirror):
    """Each crop by itself through a plain net, and the mean over the crops of an image."""
    net = caffe.Net(files[0], caffe.TEST, weights=files[1])
    net.blobs["data"].reshape(1, 3, 8, 10)
    means = []
    for image in images:
        resized = caffe.io.resize_image(image, dims)
        predictions = []
        for top, left in corners:
            crop = resized[top : top + 8, left : left + 10]
            for turned in (crop, crop[:, ::-1])[: 1 + mirror]:
                bgr = turned.transpose(2, 0, 1)[::-1]
                net.blobs["data"].data[0] = (bgr * 3.0 - MEAN[:, None, None]) * 0.5
                predictions.append(net.forward()["prob"][0].copy())
        means.append(np.mean(predictions, axis=0))
    return np.array(means)


def test_averages_ten_crops(files, images):
    classifier = caffe.Classifier(*files, image_dims=(13, 18), **SETTINGS)
    got = classifier.predict(images)
    corners = [(0, 0), (0, 8), (5, 0), (5, 8), (2, 4)]
    np.testing.assert_allclose(got, expected(files, images, (13, 18), corners, True), atol=1e-6)
    assert got.shape == (3, 3)
    # The pictures are different enough for a mix-up of rows to be seen.
    assert np.ptp(got, axis=0).min() > 1e-4


def test_centre_alone(files, images):
    classifier = caffe.Classifier(*files, image_dims=[13, 19], **SETTINGS)
    got = classifier.predict(images, oversample=False)
    want = expected(files, images, (13, 19), [(2, 4)], False)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_images_have_the_size_of_the_input_by_default(files, images):
    classifier = caffe.Classifier(*files, None, *SETTINGS.values())
    assert list(classifier.image_dims) == list(classifier.crop_dims) == [8, 10]
    want = expected(files, images, (8, 10), [(0, 0)], True)
    np.testing.assert_allclose(classifier.predict(images, True), want, atol=1e-6)


def test_it_is_a_net(files):
    classifier = caffe.Classifier(*files)
    assert isinstance(classifier, caffe.Net)
    assert classifier.outputs == ["prob"]
    assert not classifier.transformer.mean and not classifier.transformer.raw_scale
    assert caffe.classifier.Classifier is caffe.Classifier


def test_no_images(files):
    with pytest.raises(DataError, match="there are no images to classify"):
        caffe.Classifier(*files).predict([])


@pytest.mark.parametrize("oversample", [True, False])
def test_images_smaller_than_the_input(files, images, oversample):
    classifier = caffe.Classifier(*files, image_dims=(8, 9))
    with pytest.raises(DataError, match=r"8 x 10 do(es)? not fit into .*8 x 9"):
        classifier.predict(images, oversample)


def test_a_net_without_an_image_input(tmp_path, files):
    model = tmp_path / "flat.prototxt"
    model.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } }'
    )
    with pytest.raises(DataError, match=r"no input \(N, C, H, W\)[\s\S]*deploy prototxt"):
        caffe.Classifier(str(model), files[1])
