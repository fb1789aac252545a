"""Dropout: switch off elements at random while training.

Source: `DropoutLayer` of BVLC Caffe; N. Srivastava et al., "Dropout", 2014.
"""

import numpy as np

from caffe_spn.layer import register
from caffe_spn.layers.neuron import NeuronLayer
from caffe_spn.layers.own_random import OwnRandom
from caffe_spn.proto.caffe_pb2 import TRAIN


@register("Dropout")
class Dropout(OwnRandom, NeuronLayer):
    """top = x * mask / (1 - dropout_ratio) in training, x in testing

    Parameters
    ----------
    dropout_ratio : float, default 0.5
        Probability that an element becomes 0; from 0 to below 1.

    Raises
    ------
    PrototxtError
        If the ratio lies elsewhere, at the first forward pass in training.

    Notes
    -----
    For the same seed the CPU and a GPU switch off other elements: the CPU draws them one after
    another, the GPU computes each from the seed and the number of the pass (Philox).

    Examples
    --------
    ::

        layer {
          name: "drop6" type: "Dropout" bottom: "fc6" top: "fc6"
          dropout_param { dropout_ratio: 0.2 }
        }
    """

    def setup(self, bottom, top):
        self.ratio = self.layer_param.dropout_param.dropout_ratio
        self.start_random()

    def _check_ratio(self) -> None:
        # Not in setup: where nothing is dropped any ratio will do, and Caffe builds such nets.
        if not 0 <= self.ratio < 1:
            raise self.param_error(
                f"has dropout_ratio {self.ratio:g}; it must be at least 0 and less than 1",
                help="it is the share of elements that are dropped",
            )

    def forward_cpu(self, bottom, top):
        x, y = bottom[0].data, top[0].data
        if self.phase != TRAIN:
            if x is not y:
                y[...] = x
            return
        self._check_ratio()
        mask = self._mask(x.shape)
        self.rng.random(out=mask, dtype=mask.dtype)
        np.greater_equal(mask, self.ratio, out=mask, casting="unsafe")
        mask *= 1 / (1 - self.ratio)
        np.multiply(x, mask, out=y)

    def backward_cpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        if self.phase == TRAIN:
            np.multiply(top[0].diff, self._mask(top[0].shape), out=bottom[0].diff)
        elif bottom[0] is not top[0]:
            bottom[0].diff[...] = top[0].diff

    def _mask(self, shape):
        return self.workspace("mask", shape)

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import dropout
        from caffe_spn.cuda.runtime import runtime

        x = bottom[0].gpu_data
        if self.phase == TRAIN:
            self._check_ratio()
            dropout.dropout(x, top[0].new_gpu_data, self.next_gpu_draws(), self.ratio)
        elif bottom[0] is not top[0]:
            runtime().copy(top[0].new_gpu_data, x)

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import dropout
        from caffe_spn.cuda.runtime import runtime

        if not propagate_down[0]:
            return
        top_diff = top[0].gpu_diff
        if self.phase == TRAIN:
            dropout.dropout(top_diff, bottom[0].new_gpu_diff, self.draws.gpu_data, self.ratio)
        elif bottom[0] is not top[0]:
            runtime().copy(bottom[0].new_gpu_diff, top_diff)
