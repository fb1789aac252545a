"""Two small trainings for tests of what ends one; most of the second is parameters."""

import numpy as np

from tests.solver_cases import make_solver

NET = """
layer { name: "data" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: BATCH dim: 3 dim: 16 dim: 16 } data_filler { type: "constant" value: 0.5 }
  shape { dim: BATCH dim: 4 dim: 16 dim: 16 } data_filler { type: "constant" value: 1 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "c" convolution_param {
  num_output: 4 kernel_size: 3 pad: 1
  weight_filler { type: "constant" value: 0.1 } bias_filler { type: "constant" value: 0.2 } } }
layer { name: "relu" type: "ReLU" bottom: "c" top: "r" }
layer { name: "loss" type: "EuclideanLoss" bottom: "r" bottom: "t" top: "loss" }
"""
BATCH = 8


# A net of which most is parameters, and what goes with them.
HEAVY = """
layer { name: "data" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: BATCH dim: 64 } shape { dim: BATCH dim: 64 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {
  num_output: 64 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


def solver_of(folder, batch=BATCH, text="", net=NET):
    folder.mkdir(exist_ok=True)
    return make_solver(folder, f"momentum: 0.9 {text}", net.replace("BATCH", str(batch)))


def values(solver):
    """Copies of parameters and histories."""
    blobs = [*solver.net.params["conv"], *solver.history_blobs]
    return [blob.data.copy() for blob in blobs]


def assert_equal(found, wanted, rtol=0.0):
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=rtol)
