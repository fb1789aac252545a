"""Run the command line as its users do, on a network that takes milliseconds."""

import os
import subprocess
import sys

NET = """
name: "tiny"
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param {
    shape { dim: 4 dim: 3 dim: 6 dim: 8 } data_filler { type: "gaussian" std: 1 }
    shape { dim: 4 dim: 1 dim: 6 dim: 8 } data_filler { type: "constant" value: 1 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" relu_param { negative_slope: 0.1 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "conv" bottom: "label" top: "accuracy"
  include { phase: TEST } }
"""
SOLVER = """
net: "net.prototxt"
test_iter: 2
test_interval: 4
test_initialization: false
base_lr: 0.05
momentum: 0.9
lr_policy: "fixed"
display: 2
max_iter: 8
snapshot: 4
snapshot_prefix: "out/deep/net"
random_seed: 7
"""


def write_tiny(folder, solver=SOLVER, net=NET):
    """Write net.prototxt and solver.prototxt."""
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(solver)


def command(*arguments):
    return [sys.executable, "-m", "caffe_spn.tools.main", *map(str, arguments)]


def caffe_spn(folder, *arguments):
    """Run ``caffe-spn ARGUMENTS`` in a folder; returns the CompletedProcess."""
    result = subprocess.run(
        command(*arguments),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "COLUMNS": "100"},
    )
    if "--debug" not in arguments:
        assert "Traceback" not in result.stderr, result.stderr
    return result


def error(folder, *arguments, code=1):
    """The message of a command that must fail with an exit code."""
    result = caffe_spn(folder, *arguments)
    assert result.returncode == code, result.stderr + result.stdout
    return result.stderr
