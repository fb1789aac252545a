"""A data layer in Python: one tile and its labels at a time."""

import json
import os
import sys

import caffe
import numpy as np

sys.path.append(os.path.dirname(os.path.abspath(__file__)))
import coins


class CoinTiles(caffe.Layer):
    """Tops: the image (1, 1, H, W) and its labels (1, 1, H, W).

    param_str is JSON: `folder` and `split`; `shuffle` draws the tiles at random and flips them, as
    `seed` says.
    """

    def setup(self, bottom, top):
        params = json.loads(self.param_str)
        self.folder = params["folder"]
        self.names = coins.read_names(self.folder, params["split"])
        self.random = params.get("shuffle", False)
        self.rng = np.random.RandomState(params.get("seed", 0))
        self.idx = -1
        if len(top) != 2:
            raise Exception("Need to define two tops: data and label.")
        if len(bottom) != 0:
            raise Exception("Do not define a bottom.")

    def reshape(self, bottom, top):
        # Each image could be of a size of its own: it is read before the tops get their shapes.
        self.idx = self.rng.randint(len(self.names)) if self.random else self.idx + 1
        self.data, self.label = coins.read(self.folder, self.names[self.idx % len(self.names)])
        if self.random and self.rng.randint(2):
            self.data, self.label = self.data[:, :, ::-1], self.label[:, :, ::-1]
        top[0].reshape(1, *self.data.shape)
        top[1].reshape(1, *self.label.shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.data
        top[1].data[...] = self.label

    def backward(self, top, propagate_down, bottom):
        pass
