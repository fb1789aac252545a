"""A net's definition, parameters and inputs on the host, for `benchmarks.gpu_twin`."""

from __future__ import annotations

import numpy as np


class Frozen:
    """What `gpu_twin.Twin` needs of a net, on the host, so that the net may go or train.

    Parameters
    ----------
    net : Net
    result : array
        What the twin must compute.
    """

    def __init__(self, net, result: np.ndarray):
        self.result = result
        self.layer_params = list(net.layer_params)
        self.layers = [FrozenLayer(layer) for layer in net.layers]
        inputs = [top for p in net.layer_params if p.type == "Input" for top in p.top]
        self.blobs = {name: FrozenBlob(net.blobs[name]) for name in inputs}


class FrozenBlob:
    """A blob's values."""

    def __init__(self, blob):
        self.data = np.array(blob.data)


class FrozenLayer:
    """A layer's parameters."""

    def __init__(self, layer):
        self.type = layer.type
        self.param_propagate_down = list(layer.param_propagate_down)
        self.blobs = [FrozenBlob(blob) for blob in layer.blobs]
