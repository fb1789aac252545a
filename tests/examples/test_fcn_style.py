"""examples/fcn_style: a classifier becomes a segmentation network and is fine-tuned."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.alias import caffe_importable
from tests.tools.cli import caffe_spn

FOLDER = Path(__file__).parents[2] / "examples" / "fcn_style"
MODULES = ("coins", "coin_layers", "nets", "score", "surgery")


@pytest.fixture
def example(monkeypatch):
    """The example's modules, which say `import caffe`."""
    monkeypatch.syspath_prepend(str(FOLDER))
    with caffe_importable():
        yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        del sys.modules[name]


def test_training_improves_what_surgery_gave(tmp_path):
    result = caffe_spn(tmp_path, "run", FOLDER / "train.py")
    assert result.returncode == 0, result.stderr
    assert float(re.search(r"patches: accuracy ([\d.]+)", result.stdout)[1]) > 0.9
    assert "coercing (16, 300) to (16, 12, 5, 5): fc3 -> fc3_conv 0" in result.stdout
    scores = re.findall(r"Iteration (\d+): loss ([\d.]+), .* mean IU ([\d.]+)", result.stdout)
    assert [int(iteration) for iteration, _, _ in scores] == [0, 20, 40, 60]
    losses = [float(loss) for _, loss, _ in scores]
    # Surgery alone labels pixels well; fine-tuning makes it better.
    assert float(scores[0][2]) > 0.9 and float(scores[-1][2]) > 0.95
    assert losses[-1] < losses[0]
    assert (tmp_path / "fcn.caffemodel").is_file()


def test_the_convolution_is_the_inner_product_that_it_came_from(example, tmp_path, capsys):
    nets = example["nets"]
    example["coins"].write(str(tmp_path))
    patch_net = caffe.Net(nets.classifier(1), caffe.TEST)
    segmenter = caffe.Net(nets.fcn(folder=str(tmp_path), split="val"), caffe.TEST)
    example["surgery"].transplant(segmenter, patch_net, suffix="_conv")
    assert "dropping conv1" in capsys.readouterr().out
    seen = np.random.default_rng(0).random(patch_net.blobs["pool2"].data.shape)
    patch_net.blobs["pool2"].data[...] = seen
    expected = patch_net.forward(start="fc3", end="score")["score"]
    segmenter.forward(end="pool2")
    segmenter.blobs["pool2"].data[:, :, 3:8, 2:7] = seen
    found = segmenter.forward(start="fc3_conv", end="score_conv")["score_conv"]
    np.testing.assert_allclose(found[:, :, 3, 2], expected, rtol=1e-5)


def test_the_deconvolution_interpolates(example, tmp_path):
    example["coins"].write(str(tmp_path))
    segmenter = caffe.Net(example["nets"].fcn(folder=str(tmp_path), split="val"), caffe.TEST)
    assert segmenter.layer_dict["score"].layer_param.crop_param.offset[0] == 16
    example["surgery"].interp(segmenter, ["upscore"])
    ramp = segmenter.blobs["score_conv"].data
    ramp[...] = np.arange(ramp.shape[3])
    line = segmenter.forward(start="upscore", end="upscore")["upscore"][0, 1, 20, 20:80]
    np.testing.assert_allclose(np.diff(line), 1 / 4, rtol=1e-4)
    with pytest.raises(ValueError, match="channels need to be the same"):
        example["surgery"].interp(segmenter, ["conv2"])


def test_the_histogram_counts_classes_by_prediction(example):
    label, prediction = np.array([0, 0, 1, 1, 255]), np.array([0, 1, 1, 1, 0])
    assert example["score"].fast_hist(label, prediction, 2).tolist() == [[1, 1], [0, 2]]
