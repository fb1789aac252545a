"""Bring a net of the first generation (V0) to the second (V1).

In V0 each of `layers` holds a `layer` with a lower-case type and the options of every type in one
message, and padding is a layer of its own before a convolution.
"""

from __future__ import annotations

from caffe_spn.errors import PrototxtError, nearest
from caffe_spn.proto import caffe_pb2
from caffe_spn.proto.fields import put

_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}
_PARAM_OF_TYPE = {
    "concat": "concat_param",
    "conv": "convolution_param",
    "data": "data_param",
    "dropout": "dropout_param",
    "hdf5_data": "hdf5_data_param",
    "images": "image_data_param",
    "infogain_loss": "infogain_loss_param",
    "innerproduct": "inner_product_param",
    "lrn": "lrn_param",
    "pool": "pooling_param",
    "window_data": "window_data_param",
}
_WEIGHTED = ("conv", "innerproduct")
_IMAGES = ("data", "images")
_BATCHES = ("data", "hdf5_data", "images", "window_data")
# For each option its name in V1 and the types that may have it.
_OPTIONS = {
    "num_output": ("num_output", _WEIGHTED),
    "biasterm": ("bias_term", _WEIGHTED),
    "weight_filler": ("weight_filler", _WEIGHTED),
    "bias_filler": ("bias_filler", _WEIGHTED),
    "pad": ("pad", ("conv", "pool")),
    "kernelsize": ("kernel_size", ("conv", "pool")),
    "group": ("group", ("conv",)),
    "stride": ("stride", ("conv", "pool")),
    "pool": ("pool", ("pool",)),
    "dropout_ratio": ("dropout_ratio", ("dropout",)),
    "local_size": ("local_size", ("lrn",)),
    "alpha": ("alpha", ("lrn",)),
    "beta": ("beta", ("lrn",)),
    "k": ("k", ("lrn",)),
    "source": ("source", (*_BATCHES, "infogain_loss")),
    "batchsize": ("batch_size", _BATCHES),
    "rand_skip": ("rand_skip", _IMAGES),
    "shuffle_images": ("shuffle", ("images",)),
    "new_height": ("new_height", ("images",)),
    "new_width": ("new_width", ("images",)),
    "concat_dim": ("concat_dim", ("concat",)),
    "det_fg_threshold": ("fg_threshold", ("window_data",)),
    "det_bg_threshold": ("bg_threshold", ("window_data",)),
    "det_fg_fraction": ("fg_fraction", ("window_data",)),
    "det_context_pad": ("context_pad", ("window_data",)),
    "det_crop_mode": ("crop_mode", ("window_data",)),
}
_TRANSFORM = {
    "scale": "scale",
    "meanfile": "mean_file",
    "cropsize": "crop_size",
    "mirror": "mirror",
}
# The type reshape never became a layer: Caffe drops its options without a word.
_DROPPED = frozenset(("new_num", "new_channels"))


def upgrade_v0(net: caffe_pb2.NetParameter, dropped: list[str]) -> caffe_pb2.NetParameter:
    """Rewrite the layers of a V0 net as V1 layers.

    Of the net's own fields name, input, input_dim and force_backward survive, as in Caffe.

    Parameters
    ----------
    net : NetParameter
        It is not changed.
    dropped : list of str
        Gets a line for each option that does not belong to its layer's type, and each V1 layer.

    Raises
    ------
    PrototxtError
        If a type is not known, or a padding layer does not lead into conv or pool.
    """
    out = caffe_pb2.NetParameter(input_dim=net.input_dim)
    put(out, "input", net.input)
    for field in ("name", "force_backward"):
        if net.HasField(field):
            put(out, field, getattr(net, field))
    for old in _merge_padding(net):
        dropped += _upgrade_layer(old, out.layers.add())
    return out


def _merge_padding(net: caffe_pb2.NetParameter) -> list[caffe_pb2.V1LayerParameter]:
    """The layers without those of type padding, whose pad goes to the layer that they feed."""
    makers: dict[str, caffe_pb2.V1LayerParameter | None] = dict.fromkeys(net.input)
    kept = []
    for old in net.layers:
        connection = caffe_pb2.V1LayerParameter()
        connection.CopyFrom(old)
        bottoms = list(old.bottom)
        for index, bottom in enumerate(old.bottom):
            if bottom not in makers:
                raise PrototxtError(
                    f"bottom '{bottom}' is not the top of an earlier layer",
                    where=f"layer '{old.layer.name}' ({old.layer.type})",
                )
            padding = makers[bottom]
            if padding is not None and padding.layer.type == "padding":
                _check_padding(padding, old)
                connection.layer.pad = padding.layer.pad
                bottoms[index] = padding.bottom[0]
        connection.ClearField("bottom")
        put(connection, "bottom", bottoms)
        if old.layer.type != "padding":
            kept.append(connection)
        makers.update((top, old) for top in old.top)
    return kept


def _check_padding(
    padding: caffe_pb2.V1LayerParameter, consumer: caffe_pb2.V1LayerParameter
) -> None:
    where = f"layer '{consumer.layer.name}' ({consumer.layer.type})"
    if consumer.layer.type not in ("conv", "pool"):
        raise PrototxtError(
            f"padding layer '{padding.layer.name}' leads into it; only conv and pool can be padded",
            where=where,
        )
    if (len(consumer.bottom), len(padding.bottom), len(padding.top)) != (1, 1, 1):
        raise PrototxtError(
            f"it and padding layer '{padding.layer.name}' must have one bottom each, "
            "and the padding one top",
            where=where,
        )


def _upgrade_layer(old: caffe_pb2.V1LayerParameter, new: caffe_pb2.V1LayerParameter) -> list[str]:
    put(new, "bottom", old.bottom)
    put(new, "top", old.top)
    dropped = []
    if not old.HasField("layer"):
        # It keeps no more than that, in Caffe too.
        dropped.append(f"layer '{old.name}' is of the second generation, among those of the first")
    for field, value in old.layer.ListFields():
        if field.name in ("name", "blobs", "blobs_lr", "weight_decay"):
            put(new, field.name, value)
        elif field.name == "type":
            new.type = _type(value)
        elif field.name in _TRANSFORM:
            put(new.transform_param, _TRANSFORM[field.name], value)
        elif field.name == "hdf5_output_param" and old.layer.type == "hdf5_output":
            new.hdf5_output_param.CopyFrom(value)
        elif old.layer.type in _OPTIONS.get(field.name, ("", ()))[1]:
            put(getattr(new, _PARAM_OF_TYPE[old.layer.type]), _OPTIONS[field.name][0], value)
        elif field.name not in _DROPPED:
            dropped.append(
                f"Unknown parameter {field.name} for layer type {old.layer.type}"
                f" (layer '{old.layer.name}')"
            )
    return dropped


def _type(name: str) -> int:
    if name not in _TYPES:
        near = nearest(str(name), _TYPES)
        raise PrototxtError(
            f"'{name}' is no layer type of the first generation of Caffe's format",
            help=f"did you mean '{near}'?" if near else None,
        )
    return caffe_pb2.V1LayerParameter.LayerType.Value(_TYPES[name])
