"""examples/classify_images.py, which says `import caffe`, with a net that knows three colours."""

from pathlib import Path

import numpy as np
from skimage import data
from skimage.io import imsave

import caffe_spn as caffe
from tests.tools.cli import caffe_spn

SCRIPT = Path(__file__).parents[2] / "examples" / "classify_images.py"
DEPLOY = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 10 dim: 3 dim: 24 dim: 24 } } }
layer { name: "colour" type: "Convolution" bottom: "data" top: "colour"
  convolution_param { num_output: 3 kernel_size: 1 } }
layer { name: "mean" type: "Pooling" bottom: "colour" top: "mean"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "prob" type: "Softmax" bottom: "mean" top: "prob" }
"""
MEAN = np.array([100.0, 110.0, 120.0])


def test_classes_of_real_pictures(tmp_path):
    (tmp_path / "deploy.prototxt").write_text(DEPLOY)
    (tmp_path / "words.txt").write_text("blue\ngreen\nred\n")
    net = caffe.Net(str(tmp_path / "deploy.prototxt"), caffe.TEST)
    net.params["colour"][0].data[...] = np.eye(3).reshape(3, 3, 1, 1) / 50
    net.save(str(tmp_path / "net.caffemodel"))
    mean = caffe.io.array_to_blobproto(MEAN.reshape(1, 3, 1, 1) * np.ones((1, 3, 4, 4)))
    (tmp_path / "mean.binaryproto").write_bytes(mean.SerializeToString())
    pictures = {"cat.png": data.chelsea(), "cup.png": data.coffee(), "face.png": data.astronaut()}
    for name, picture in pictures.items():
        imsave(tmp_path / name, picture[:300, :300])

    result = caffe_spn(
        tmp_path, "run", SCRIPT, "deploy.prototxt", "net.caffemodel", "words.txt", *pictures,
        "--size", "24", "--top", "2", "--mean", "mean.binaryproto",
    )  # fmt: skip

    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    for name, first in zip(pictures, (0, 3, 6), strict=True):
        image = caffe.io.resize_image(caffe.io.load_image(tmp_path / name), (24, 24))
        scores = np.exp((255 * image.mean(axis=(0, 1))[::-1] - MEAN) / 50)
        scores /= scores.sum()
        best = np.argsort(-scores)[:2]
        want = [f"  {scores[k]:.3f} {('blue', 'green', 'red')[k]}" for k in best]
        assert lines[first : first + 3] == [name, *want]
    assert len(lines) == 9
