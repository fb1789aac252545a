"""InfogainLoss: cross-entropy in which each confusion of two classes has a weight of its own.

    loss = -sum over positions and classes c of H[label, c] log p[c] / normalizer,  p = softmax(x)

Source: `InfogainLossLayer` of BVLC Caffe.
"""

import warnings

import numpy as np

from caffe_spn.blob import Blob
from caffe_spn.cpu import softmax
from caffe_spn.layer import register
from caffe_spn.layers.loss import (
    LOG_THRESHOLD,
    LossLayer,
    check_label_count,
    normalizer,
    read_labels,
)
from caffe_spn.layers.loss_gpu import LabelsOnGpu, gpu_divisor
from caffe_spn.layers.softmax import around_axis
from caffe_spn.proto import binary, caffe_pb2
from caffe_spn.proto.blobs import blob_proto_to_array


@register(
    "InfogainLoss", bottoms=("scores", "labels", "infogain?"), tops=("loss", "probabilities?")
)
class InfogainLoss(LabelsOnGpu, LossLayer):
    """loss = -sum over positions and classes c of H[label, c] log softmax(x)[c] / normalizer

    With the unit matrix as H it is SoftmaxWithLoss.

    Parameters
    ----------
    source : str
        A file with H, a BlobProto of C x C numbers in binary; needed if there is no third bottom.
        A third bottom overrides it, with a warning.
    axis : int, default 1
        The axis of the classes; may count from the back. `softmax_param` is not read.
    loss_param.ignore_label : int, optional
        Positions with this label cost nothing and get no gradient.
    loss_param.normalization : FULL, VALID, BATCH_SIZE or NONE, default VALID
        What the sum is divided by: all positions, those not ignored, the size before the class
        axis, or 1.
    loss_param.normalize
        Refused, as in Caffe: it is the old form of `normalization`.

    Bottoms, tops
    -------------
    scores : (N, C, ...)
    labels : (N, ...) or (N, 1, ...)
        Integers from 0 to C - 1; one for each position.
    infogain : C * C elements in any shape, optional
        H; row by row for the labels, columns for the predicted classes.
    loss : ()
    probabilities : shape of the scores, optional

    Raises
    ------
    ShapeError
        If there is not one label for each position, or H has not C * C elements.
    PrototxtError
        If there is neither a source nor a third bottom, `normalize` is given, or a gradient of
        the labels or of H is wanted.
    WeightsError
        If the source cannot be read or is no BlobProto.
    DataError
        If a label is no class and not ignored; on a GPU, when the host next reads from it.

    Notes
    -----
    As in Caffe, log takes at least 1e-20, while the gradient is that of the logarithm without this
    floor.

    Examples
    --------
    ::

        layer {
          name: "loss"
          type: "InfogainLoss"
          bottom: "scores"
          bottom: "label"
          top: "loss"
          infogain_loss_param { source: "confusion_costs.binaryproto" }
          loss_param { ignore_label: 255 }
        }
    """

    no_backward_bottoms = (1, 2)
    ignore_remedy = "loss_param { ignore_label: ... }"

    def setup(self, bottom, top):
        param = self.layer_param.loss_param
        if param.HasField("normalize"):
            raise self.param_error(
                "has loss_param { normalize }, which InfogainLoss does not know",
                help="use normalization: VALID for normalize: true, BATCH_SIZE for false",
            )
        self.ignore_label = param.ignore_label if param.HasField("ignore_label") else None
        self.normalization = param.normalization
        self.matrix = None if len(bottom) == 3 else self._read_matrix()
        if len(bottom) == 3 and self.layer_param.infogain_loss_param.source:
            warnings.warn(
                f"{self.where}: takes its matrix from bottom 2, as Caffe does, and not from the"
                " source that it names too",
                stacklevel=2,
            )

    def _read_matrix(self):
        source = self.layer_param.infogain_loss_param.source
        if not source:
            raise self.param_error(
                "has no infogain matrix",
                help="name a file in infogain_loss_param { source }, or a blob as third bottom",
            )
        blob_proto = binary.read(source, caffe_pb2.BlobProto)
        array = blob_proto_to_array(blob_proto)
        blob = Blob(array.shape, self.dtype)
        blob.data[...] = array
        return blob

    def _matrix(self, bottom):
        return bottom[2] if self.matrix is None else self.matrix

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        scores, labels = bottom[:2]
        axis = self.axis(scores, self.layer_param.infogain_loss_param.axis)
        self.dims = outer, classes, inner = around_axis(scores.shape, axis)
        check_label_count(self, scores, labels, axis, outer * inner)
        if classes == 0:
            raise self.shape_error(f"bottom 0 (scores) is {scores.shape}: it has no classes")
        matrix = self._matrix(bottom)
        if matrix.count != classes**2:
            raise self.shape_error(
                f"has an infogain matrix of shape {matrix.shape}; bottom 0 (scores) is"
                f" {scores.shape} with {classes} classes along axis {axis}, so it must have"
                f" {classes} x {classes} elements",
                help="row i, column j says what predicting class j is worth where i is right",
            )
        if len(top) == 2:
            top[1].reshape_like(scores)

    def forward_cpu(self, bottom, top):
        outer, _, inner = self.dims
        prob = self.workspace("prob", self.dims)
        softmax.forward(bottom[0].data.reshape(self.dims), prob)
        if len(top) == 2:
            top[1].data[...] = prob.reshape(top[1].shape)
        logs = np.maximum(prob, LOG_THRESHOLD, out=self.workspace("logs", self.dims))
        np.log(logs, out=logs)
        weights, valid = self._weights(bottom)
        self.divisor = normalizer(self.normalization, outer, inner, valid)
        logs *= weights
        top[0].data[...] = -logs.sum(dtype=np.float64) / self.divisor

    def _weights(self, bottom):
        """H[label] at each position, as (outer, classes, inner), and how many positions count."""
        outer, classes, inner = self.dims
        labels, counted = read_labels(
            self, bottom[1], classes, self.ignore_label, self.ignore_remedy
        )
        columns = self._matrix(bottom).cpu_data.reshape(classes, classes).T
        labels = labels.reshape(outer, inner)
        if counted is not None:
            counted = counted.reshape(outer, inner)
            labels = np.where(counted, labels, 0)
        weights = self.workspace("weights", self.dims)
        for rows, target in zip(labels, weights, strict=True):
            np.take(columns, rows, axis=1, out=target)
        if counted is None:
            return weights, outer * inner
        weights *= counted[:, None]
        return weights, int(np.count_nonzero(counted))

    def backward_cpu(self, top, propagate_down, bottom):
        self.refuse_label_gradient(propagate_down)
        if not propagate_down[0]:
            return
        prob, weights = self.workspace("prob", self.dims), self.workspace("weights", self.dims)
        diff = bottom[0].diff.reshape(self.dims)
        np.multiply(prob, weights.sum(axis=1, keepdims=True), out=diff)
        diff -= weights
        diff *= float(top[0].diff) / self.divisor

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import label_losses, reduction, softmax
        from caffe_spn.cuda.runtime import runtime

        outer, classes, inner = self.dims
        prob, row_sums = self._gpu_prob(), self._gpu_row_sums()
        softmax.forward(bottom[0].gpu_data, prob, self.dims)
        if len(top) == 2:
            runtime().copy(top[1].new_gpu_data, prob)
        matrix = self._gpu_matrix(bottom)
        reduction.row_sums("sum", matrix, row_sums)
        labels = self.gpu_labels(bottom[1], classes, inner)
        outcome = self.gpu_outcome(top, gpu_divisor(self.normalization, outer, inner))
        label_losses.label_forward("infogain", prob, labels, outcome, matrix)
        self.watch_labels(bottom[1], classes)

    def backward_gpu(self, top, propagate_down, bottom):
        self.refuse_label_gradient(propagate_down)
        if not propagate_down[0]:
            return
        from caffe_spn.cuda import label_losses

        _, classes, inner = self.dims
        labels = self.gpu_labels(bottom[1], classes, inner)
        arrays = top[0].gpu_diff, self.gpu_summary, bottom[0].new_gpu_diff
        more = self._gpu_matrix(bottom), self._gpu_row_sums()
        label_losses.label_backward("infogain", self._gpu_prob(), labels, *arrays, *more)

    def _gpu_prob(self):
        return self.gpu_workspace("prob", self.dims)

    def _gpu_row_sums(self):
        return self.gpu_workspace("row_sums", self.dims[1:2])

    def _gpu_matrix(self, bottom):
        return self._matrix(bottom).gpu_data.reshaped(self.dims[1], self.dims[1])
