"""Split and Silence: one blob for several layers, and blobs for none.

Source: `SplitLayer` and `SilenceLayer` of BVLC Caffe.
"""

import numpy as np

from caffe_spn.layer import Layer, register


@register("Split", tops=("top+",))
class Split(Layer):
    """top[i] = bottom; the gradients add up

    The net inserts one wherever a blob has more than one consumer. The tops share the bottom's
    memory; only the diffs are their own.

    Bottoms
    -------
    bottom : any

    Tops
    ----
    top+ : the shape of the bottom

    Examples
    --------
    ::

        layer { name: "copies" type: "Split" bottom: "x" top: "a" top: "b" }
    """

    def reshape(self, bottom, top):
        for blob in top:
            blob.reshape_like(bottom[0])
            blob.share_data(bottom[0])

    def forward_cpu(self, bottom, top):
        pass

    def backward_cpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        total = bottom[0].diff
        if len(top) == 1:
            total[...] = top[0].diff
            return
        np.add(top[0].diff, top[1].diff, out=total)
        for blob in top[2:]:
            total += blob.diff

    def forward_gpu(self, bottom, top):
        pass

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import copy

        if propagate_down[0]:
            copy.add_up([blob.gpu_diff for blob in top], bottom[0].new_gpu_diff)


@register("Silence", bottoms=("bottom+",), tops=())
class Silence(Layer):
    """Takes blobs that nobody needs, so that they are no outputs of the net.

    Their gradient is zero.

    Bottoms
    -------
    bottom+ : any

    Examples
    --------
    ::

        layer { name: "silence" type: "Silence" bottom: "label" }
    """

    def forward_cpu(self, bottom, top):
        pass

    def backward_cpu(self, top, propagate_down, bottom):
        for wanted, blob in zip(propagate_down, bottom, strict=True):
            if wanted:
                blob.diff.fill(0)

    def forward_gpu(self, bottom, top):
        pass

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda.runtime import runtime

        for wanted, blob in zip(propagate_down, bottom, strict=True):
            if wanted:
                runtime().zero(blob.new_gpu_diff)
