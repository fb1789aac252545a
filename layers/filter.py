"""Filter: pass on the examples of a batch that a selector names.

Source: `FilterLayer` of BVLC Caffe.
"""

import numpy as np

from caffe_spn.layer import Layer, register
from caffe_spn.layers.indices import examples, on_device, put_rows, refuse_gradient, take_rows


@register("Filter", bottoms=("data", "selector+"), tops=("top+",), in_place=False)
class Filter(Layer):
    """top = data[selector != 0], for every bottom but the last, which is the selector

    How many examples pass is known only at the forward pass, which gives the tops their shape. A
    network is built as if all of them passed; if none does, the tops have 0 examples. Examples
    that were left out have gradient 0.

    Bottoms, tops
    -------------
    data : (N, ...), one or more of them
    selector : (N,) or (N, 1, ...), the last bottom
        An example passes where it is not 0. There is no gradient for it.
    top : (number of examples that pass, ...), one for each `data`

    Raises
    ------
    PrototxtError
        If there is not one top for each bottom but the last.
    ShapeError
        If the selector has more than one number for an example, or the batch sizes differ.

    Examples
    --------
    ::

        layer {
          name: "labelled" type: "Filter"
          bottom: "features" bottom: "labels" bottom: "has_label"
          top: "labelled_features" top: "their_labels"
        }
    """

    def setup(self, bottom, top):
        if len(top) != len(bottom) - 1:
            raise self.param_error(
                f"has {len(bottom)} bottom(s) and {len(top)} top(s); the last bottom is the"
                " selector, and each of the others needs a top",
                help="name one top fewer than bottoms",
            )
        self.kept = None

    def allow_force_backward(self, index):
        return index != len(self.layer_param.bottom) - 1

    def reshape(self, bottom, top):
        selector = bottom[-1].shape
        if not selector or any(n != 1 for n in selector[1:]):
            raise self.shape_error(
                f"bottom {len(top)} (the selector) is {selector}; it must be (N,) or (N, 1, ...),"
                " one number for each example",
                help="put a Reshape layer in front of it",
            )
        for i, blob in enumerate(bottom[:-1]):
            if blob.shape[:1] != selector[:1]:
                raise self.shape_error(
                    f"bottom {i} is {blob.shape} and bottom {len(top)} (the selector) is"
                    f" {selector}; their first dimensions, the batch, must be equal",
                    help="check the batch sizes of the layers below",
                )
        # The first call builds the network: the selector holds nothing yet.
        everything = self.kept is None
        self.kept = np.arange(selector[0]) if everything else np.flatnonzero(bottom[-1].cpu_data)
        self._shape_tops(bottom, top)

    def _shape_tops(self, bottom, top) -> None:
        for x, y in zip(bottom, top, strict=False):
            y.reshape(len(self.kept), *x.shape[1:])

    def forward_cpu(self, bottom, top):
        self.kept = np.flatnonzero(bottom[-1].cpu_data)
        self._shape_tops(bottom, top)
        for x, y in zip(bottom, top, strict=False):
            take_rows(x.data, self.kept, y.data)

    def backward_cpu(self, top, propagate_down, bottom):
        refuse_gradient(self, propagate_down, len(top), "selector")
        for x, y, wanted in zip(bottom, top, propagate_down, strict=False):
            if wanted:
                x.diff.fill(0)
                x.diff[self.kept] = y.diff

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import rows

        self.kept = np.flatnonzero(bottom[-1].cpu_data)
        self._shape_tops(bottom, top)
        numbers = on_device(self, "kept", self.kept)
        for x, y in zip(bottom, top, strict=False):
            rows.take_rows(examples(x.gpu_data), numbers, examples(y.new_gpu_data))

    def backward_gpu(self, top, propagate_down, bottom):
        refuse_gradient(self, propagate_down, len(top), "selector")
        for x, y, wanted in zip(bottom, top, propagate_down, strict=False):
            if wanted:
                put_rows(self, y.gpu_diff, self.kept, x.new_gpu_diff)
