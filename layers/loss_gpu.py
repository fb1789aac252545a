"""What losses and other readers of labels share on the GPU.

The host reads neither the loss nor the labels. Where a label is no class, the device notes it; the
error is the CPU's, and comes when the host next reads from the device.
"""

from __future__ import annotations

import numpy as np

from caffe_spn.layers.loss import label_error, normalizer
from caffe_spn.proto.caffe_pb2 import LossParameter


def gpu_divisor(mode, outer: int, inner: int) -> float:
    """What a loss is divided by, as `normalizer`; 0 if the device has to count that."""
    return 0.0 if mode == LossParameter.VALID else normalizer(mode, outer, inner, 0)


class LossOnGpu:
    """Mix-in for layers whose first top is a number that the device adds up."""

    @property
    def gpu_summary(self):
        """What the forward pass leaves on the device for the backward pass."""
        from caffe_spn.cuda.losses import SUMMARY

        return self.gpu_workspace("summary", (SUMMARY,), np.float64)

    def gpu_outcome(self, top, divisor: float):
        """Where the kernels put the loss, and what they divide it by."""
        from caffe_spn.cuda.losses import Outcome

        return Outcome(top[0].new_gpu_data, self.gpu_summary, divisor)


class LabelsOnGpu(LossOnGpu):
    """Mix-in for layers that read class labels, bottom 1, on the device.

    Attributes
    ----------
    ignore_label : int or None
    ignore_remedy : str
        How the layer's user states a label to ignore, where that is possible.
    """

    ignore_label = None
    ignore_remedy = ""

    def gpu_labels(self, blob, classes: int, inner: int = 1):
        """The labels, for the kernels."""
        from caffe_spn.cuda.label_losses import Labels

        return Labels(blob.gpu_data, classes, inner, self.ignore_label)

    def watch_labels(self, blob, classes: int) -> None:
        """Let a wrong label be raised when the host next reads from the device."""
        from caffe_spn.cuda import faults

        self._labels_read = blob.shape, classes
        faults.watch(self)

    def raise_device_fault(self) -> None:
        """Raise DataError if the last forward pass met a label that is no class."""
        from caffe_spn.cuda.runtime import runtime

        summary = np.empty(self.gpu_summary.shape)
        runtime().download(summary, self.gpu_summary)
        _, _, wrong, label = summary
        if wrong:
            runtime().zero(self.gpu_summary.part(2, (1,)))  # it is said once
            shape, classes = self._labels_read
            position = tuple(map(int, np.unravel_index(int(wrong) - 1, shape)))
            raise label_error(self, label, position, shape, classes, self.ignore_remedy)


class ExampleLossOnGpu(LabelsOnGpu):
    """Mix-in for an `ExampleLoss`.

    Attributes
    ----------
    gpu_loss : str
        The loss's name among the kernels.
    """

    gpu_loss: str

    def gpu_parameters(self) -> tuple:
        """What the kernels want to know besides scores and labels."""
        return ()

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import label_losses

        examples, classes = self.dims
        label_losses.label_forward(
            self.gpu_loss,
            bottom[0].gpu_data,
            self.gpu_labels(bottom[1], classes),
            self.gpu_outcome(top, max(1, examples)),
            *self.gpu_parameters(),
        )
        self.watch_labels(bottom[1], classes)

    def backward_gpu(self, top, propagate_down, bottom):
        self.refuse_label_gradient(propagate_down)
        if not propagate_down[0]:
            return
        from caffe_spn.cuda import label_losses

        label_losses.label_backward(
            self.gpu_loss,
            bottom[0].gpu_data,
            self.gpu_labels(bottom[1], self.dims[1]),
            top[0].gpu_diff,
            self.gpu_summary,
            bottom[0].new_gpu_diff,
            *self.gpu_parameters(),
        )
