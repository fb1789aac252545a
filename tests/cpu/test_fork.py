"""Programs that use a net and then fork: preforking servers, a process for each job."""

import os
import subprocess
import sys

import pytest

NET = """
input: "x" input_shape { dim: 4 dim: 8 dim: 32 dim: 32 } force_backward: true
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" convolution_param {
  num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "relu" }
layer { name: "norm" type: "LRN" bottom: "relu" top: "norm" }
layer { name: "pool" type: "Pooling" bottom: "norm" top: "pool" pooling_param {
  pool: AVE kernel_size: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip" inner_product_param {
  num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""

SCRIPT = """
import multiprocessing, sys
import numpy as np
import caffe_spn as caffe

def run(net):
    net.blobs["x"].data[...] = np.linspace(-1, 1, net.blobs["x"].count).reshape(4, 8, 32, 32)
    net.forward()
    net.backward(prob=net.blobs["ip"].data)
    return net.blobs["prob"].data.copy(), net.blobs["x"].diff.copy()

def child(net, expected):
    for got, wanted in zip(run(net), expected):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)

# A fixed start: no value lies so near a kink that the last digits decide.
caffe.set_random_seed(1)
net = caffe.Net("net.prototxt", caffe.TEST)
expected = run(net)
process = multiprocessing.get_context("fork").Process(target=child, args=(net, expected))
process.start()
process.join()
child(net, expected)
sys.exit(process.exitcode)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_goes_on_computing(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
