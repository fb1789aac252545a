"""What the loss layers share: a scalar top, labels, and how the sum is normalised.

Source: `LossLayer` of BVLC Caffe, and `get_normalizer` of its softmax loss.
"""

import numpy as np

from caffe_spn.errors import DataError
from caffe_spn.layer import Layer
from caffe_spn.proto.caffe_pb2 import LossParameter

# Caffe's losses take no logarithm of, and divide by no, probability below this.
LOG_THRESHOLD = 1e-20


class LossLayer(Layer):
    """Base of layers whose first top is a loss.

    The loss has weight 1 unless the definition says otherwise, and labels (bottom 1, or whatever
    `no_backward_bottoms` names) get no gradient.
    """

    is_loss = True
    no_backward_bottoms = (1,)

    def reshape(self, bottom, top):
        batches = [blob.shape[:1] for blob in bottom[:2]]
        if batches[0] != batches[1] or () in batches:
            raise self.shape_error(
                f"bottom 0 is {bottom[0].shape} and bottom 1 is {bottom[1].shape}; their first"
                " dimensions, the batch, must be equal",
                help="check the batch sizes of the layers below",
            )
        top[0].reshape()

    def refuse_label_gradient(self, propagate_down) -> None:
        """Raise if a gradient of a bottom is wanted that has none."""
        for i in self.no_backward_bottoms:
            if i < len(propagate_down) and propagate_down[i]:
                raise self.param_error(
                    f"cannot compute a gradient for bottom {i}"
                    f" ('{self.layer_param.bottom[i]}'), the {self.bottoms.name(i)}",
                    help="put 'propagate_down: false' for it, or feed it from data",
                )

    def check_labels(self, labels, examples: int) -> None:
        """Raise unless there is one label for each example."""
        if labels.count != examples:
            raise self.shape_error(
                f"the labels are {labels.shape}, {labels.count} of them; there is one for each of"
                f" the {examples} examples",
                help=f"give them the shape ({examples},)",
            )


class ExampleLoss(LossLayer):
    """Base of losses with one label for each example, whose elements are all its classes."""

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        examples = bottom[0].shape[0]
        self.check_labels(bottom[1], examples)
        self.dims = (examples, bottom[0].count // max(1, examples))

    def read_at_label(self, labels) -> None:
        """Make `at_label` the index of each example's element at its label, in `dims`."""
        classes, _ = read_labels(self, labels, self.dims[1], None)
        self.at_label = (np.arange(self.dims[0]), classes.reshape(-1))


def normalization_mode(param, default):
    """The mode that a LossParameter states, in `normalization` or in the old `normalize`."""
    if param.HasField("normalization"):
        return param.normalization
    if param.HasField("normalize"):
        return LossParameter.VALID if param.normalize else LossParameter.BATCH_SIZE
    return default


def normalizer(mode, outer: int, inner: int, valid: int) -> float:
    """What a loss is divided by.

    Parameters
    ----------
    mode : LossParameter.NormalizationMode
        FULL: all `outer * inner` predictions; VALID: those whose label is not ignored;
        BATCH_SIZE: `outer`; NONE: 1.

    Returns
    -------
    float
        At least 1, so that a batch without labels has loss 0 and not NaN.
    """
    counts = {
        LossParameter.FULL: outer * inner,
        LossParameter.VALID: valid,
        LossParameter.BATCH_SIZE: outer,
        LossParameter.NONE: 1,
    }
    return float(max(1, counts[mode]))


def check_label_count(layer: Layer, scores, labels, axis: int, positions: int) -> None:
    """Raise unless there is one label for each position before and after the class axis."""
    if labels.count != positions:
        raise layer.shape_error(
            f"bottom 1 (labels) is {labels.shape}, {labels.count} labels; bottom 0 (scores)"
            f" is {scores.shape} with classes along axis {axis}, so it needs {positions}",
            help="there is one label for each position, such as (N, H, W) for (N, C, H, W)",
        )


def read_labels(layer: Layer, blob, classes: int, ignore_label: int | None, remedy: str = ""):
    """The labels as integers, and which of them count.

    Parameters
    ----------
    layer : Layer
        Owns the memory of the result, and is named in the error.
    blob : Blob
        The labels; fractions are cut off, as in Caffe.
    classes : int
    ignore_label : int or None
    remedy : str, optional
        How the layer's user states a label to ignore, where that is possible.

    Returns
    -------
    labels : ndarray of int32, shape of the blob
        Valid until the next call.
    counted : ndarray of bool, shape of the blob, or None if all count

    Raises
    ------
    DataError
        At the first label that is no class and not ignored; Caffe would read foreign memory.
    """
    labels = layer.workspace("labels", blob.shape, np.int32)
    with np.errstate(invalid="ignore"):
        np.copyto(labels, blob.data, casting="unsafe")
    counted = None
    if ignore_label is not None:
        counted = np.not_equal(
            labels, ignore_label, out=layer.workspace("counted", blob.shape, bool)
        )
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        wrong = (labels < 0) | (labels >= classes)
        if counted is not None:
            wrong &= counted
        if wrong.any():
            position = np.unravel_index(int(wrong.argmax()), blob.shape)
            position = tuple(map(int, position))
            raise label_error(layer, blob.data[position], position, blob.shape, classes, remedy)
    return labels, counted


def label_error(
    layer: Layer, label: float, position: tuple, shape: tuple, classes: int, remedy: str = ""
) -> DataError:
    """The error for a label that is no class."""
    help = "correct the labels, or give the layer below more outputs"
    if remedy:
        help = (
            "correct the labels, give the layer below more outputs, or leave such labels out"
            f" with {remedy}"
        )
    return DataError(
        f"label {label:g} at {position} of bottom 1, shape {shape}; there are {classes} classes, so"
        f" labels go from 0 to {classes - 1}",
        where=layer.where,
        help=help,
    )
