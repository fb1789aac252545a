"""docs/migration.md: its commands run in a project with the files that the page names."""

import shutil

import numpy as np
import pytest
from PIL import Image

import caffe_spn as caffe
from caffe_spn import prototxt
from caffe_spn.tools.convert_imageset import main as convert_imageset
from tests.docs.page_script import run_page
from tests.golden_cases import FOLDER

DATA = """
layer {
  name: "data" type: "Data" top: "data" top: "label"
  data_param { source: "train_lmdb" backend: LMDB batch_size: 4 }
  transform_param { scale: 0.00390625 crop_size: 16 mirror: true }
}
"""
INPUT = """
layer {
  name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 16 dim: 16 } }
}
"""
BODY = """
layer {
  name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } }
}
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer {
  name: "score" type: "InnerProduct" bottom: "conv1" top: "score"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } }
}
"""
LOSS = """
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
layer {
  name: "accuracy" type: "Accuracy" bottom: "score" bottom: "label" top: "accuracy"
  include { phase: TEST }
}
"""
SOLVER = """
net: "train_val.prototxt"
base_lr: 0.01 lr_policy: "step" gamma: 0.1 stepsize: 3 momentum: 0.9
max_iter: 4 display: 1 test_iter: 1 test_interval: 2
snapshot: 4 snapshot_prefix: "snapshots/net" solver_mode: GPU
"""
SCRIPT = """
import argparse
import caffe
from caffe.proto import caffe_pb2

parser = argparse.ArgumentParser()
parser.add_argument("--iterations", type=int)
net = caffe.Net("deploy.prototxt", "weights.caffemodel", caffe.TEST)
for _ in range(parser.parse_args().iterations):
    print("the script's", net.forward()["score"].shape)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for n in range(8):
        pixels = rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"images/{n}.png")
    for name, content in {
        "train.txt": "".join(f"{n}.png {n % 2}\n" for n in range(8)),
        "train_val.prototxt": DATA + BODY + LOSS,
        "deploy.prototxt": INPUT + BODY,
        "solver.prototxt": SOLVER,
        "script.py": SCRIPT,
    }.items():
        (tmp_path / name).write_text(content)
    assert convert_imageset(["images/", "train.txt", "train_lmdb"]) == 0
    caffe.Net("deploy.prototxt", caffe.TEST).save("weights.caffemodel")
    for name, case in {
        "old_net.prototxt": "upgrade_v1_learning_rates.old.prototxt",
        "old.caffemodel": "weights_v0_layers.caffemodel",
        "old_solver.prototxt": "upgrade_solver_adam.old.prototxt",
    }.items():
        shutil.copy(FOLDER / case, tmp_path / name)
    shutil.copy(prototxt.path("demo/deploy.prototxt"), tmp_path / "spn.prototxt")
    return tmp_path


def test_commands_run(project):
    shown = run_page("migration.md", project)
    assert shown.count("the script's (1, 2)") == 2
    assert "Optimization Done." in (project / "train.log").read_text()
    assert (project / "train.log.train").exists() and (project / "loss.png").exists()
    assert (project / "snapshots" / "net_iter_4.solverstate").exists()
    assert (project / "mean.binaryproto").exists() and (project / "features_lmdb").is_dir()
    fused = (project / "spn_again.prototxt").read_text()
    assert "SpatialPropagation" in fused
    assert "SpatialPropagation" not in (project / "spn_for_the_fork.prototxt").read_text()
