"""Bring a definition or weights of an older generation of the format to the current one.

The steps, in Caffe's order: first generation (V0, one `layer` message inside each of `layers`) to
second (V1, `layers` with an enum type); image options of data layers to `transform_param`; second
generation to the current `layer`; `input` fields to an Input layer; BatchNorm's parameters to a
learning rate of 0; and for solvers, `solver_type` to `type`.

Source: mirrors the upgrades that BVLC Caffe applies to every file that it reads.
"""

from __future__ import annotations

from caffe_spn.errors import PrototxtError
from caffe_spn.graph.upgrade_v0 import upgrade_v0
from caffe_spn.proto import caffe_pb2
from caffe_spn.proto.fields import copy_into, put

_V1_TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "ELTWISE": "Eltwise",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SLICE": "Slice",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "TANH": "TanH",
    "THRESHOLD": "Threshold",
    "WINDOW_DATA": "WindowData",
}
_SOLVER_TYPES = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}
_V1_DATA_PARAMS = {
    caffe_pb2.V1LayerParameter.DATA: "data_param",
    caffe_pb2.V1LayerParameter.IMAGE_DATA: "image_data_param",
    caffe_pb2.V1LayerParameter.WINDOW_DATA: "window_data_param",
}
_MOVED_TO_TRANSFORM = ("scale", "mean_file", "crop_size", "mirror")
# Repeated fields of a V1 layer that are the same in the current one.
_V1_LISTS = ("bottom", "top", "include", "exclude", "blobs", "loss_weight")
_V1_HANDLED = ("type", "param", "blob_share_mode", "blobs_lr", "weight_decay")


def upgrade(
    net_param: caffe_pb2.NetParameter, dropped: list[str] | None = None
) -> tuple[caffe_pb2.NetParameter, bool]:
    """Upgrade a net, with or without weights.

    Parameters
    ----------
    net_param : NetParameter
        Of any generation; it is not changed.
    dropped : list of str, optional
        Gets a line for each thing that had to be dropped.

    Returns
    -------
    (NetParameter, bool)
        The net in the current form; False if something had to be dropped on the way.

    Raises
    ------
    PrototxtError
        If the net mixes generations, or says something that no current net can say.
    """
    dropped = [] if dropped is None else dropped
    before = len(dropped)
    net = copy_into(caffe_pb2.NetParameter(), net_param)
    if any(layer.HasField("layer") for layer in net.layers):
        net = upgrade_v0(net, dropped)
    _upgrade_data_transforms(net)
    if net.layers:
        _upgrade_v1(net, dropped)
    if net.input:
        _upgrade_input(net)
    _upgrade_batch_norm(net)
    return net, len(dropped) == before


def upgrade_solver(solver_param: caffe_pb2.SolverParameter) -> caffe_pb2.SolverParameter:
    """Upgrade a solver: the enum `solver_type` becomes the string `type`.

    Raises
    ------
    PrototxtError
        If both are given.
    """
    solver = copy_into(caffe_pb2.SolverParameter(), solver_param)
    if solver.HasField("solver_type"):
        if solver.HasField("type"):
            raise PrototxtError(
                f'the solver has both type: "{solver.type}" and the old solver_type',
                help="leave solver_type out",
            )
        name = caffe_pb2.SolverParameter.SolverType.Name(solver.solver_type)
        solver.type = _SOLVER_TYPES[name]
        solver.ClearField("solver_type")
    return solver


def _upgrade_data_transforms(net: caffe_pb2.NetParameter) -> None:
    """Move scale, mean_file, crop_size and mirror of V1 data layers to transform_param."""
    layers = [layer for layer in net.layers if layer.type in _V1_DATA_PARAMS]

    def old_fields(layer):
        param = getattr(layer, _V1_DATA_PARAMS[layer.type])
        return [name for name in _MOVED_TO_TRANSFORM if param.HasField(name)]

    if not any(old_fields(layer) for layer in layers):
        return
    for layer in layers:
        param = getattr(layer, _V1_DATA_PARAMS[layer.type])
        # Caffe leaves both messages behind, empty or not.
        param.SetInParent()
        layer.transform_param.SetInParent()
        for name in old_fields(layer):
            put(layer.transform_param, name, getattr(param, name))
            param.ClearField(name)


def _upgrade_v1(net: caffe_pb2.NetParameter, dropped: list[str]) -> None:
    if net.layer:
        raise PrototxtError(
            "the net has both 'layer' and the old 'layers'",
            help='write all as layer { type: "ReLU" }, or all as layers { type: RELU }',
        )
    for v1 in net.layers:
        dropped += _upgrade_v1_layer(v1, net.layer.add())
    net.ClearField("layers")


def _upgrade_v1_layer(v1: caffe_pb2.V1LayerParameter, layer: caffe_pb2.LayerParameter) -> list[str]:
    dropped = []
    for field, value in v1.ListFields():
        if field.name == "name" or field.name in _V1_LISTS:
            put(layer, field.name, value)
        elif field.name.endswith("_param") and field.name in layer.DESCRIPTOR.fields_by_name:
            put(layer, field.name, value)
        elif field.name not in _V1_HANDLED:
            dropped.append(f"Unknown parameter {field.name} in layer '{v1.name}'")
    if v1.HasField("type"):
        layer.type = _v1_type(v1)
    for new_name, values in (
        ("name", v1.param),
        ("share_mode", v1.blob_share_mode),
        ("lr_mult", v1.blobs_lr),
        ("decay_mult", v1.weight_decay),
    ):
        for index, value in enumerate(values):
            if index == len(layer.param):
                layer.param.add()
            put(layer.param[index], new_name, value)
    return dropped


def _v1_type(v1: caffe_pb2.V1LayerParameter) -> str:
    name = caffe_pb2.V1LayerParameter.LayerType.Name(v1.type)
    if name not in _V1_TYPES:
        raise PrototxtError(
            f"{name} is an extension's; what the type is called today is not known",
            where=f"layer '{v1.name}'",
            help='write the layer in the current form: layer { type: "Name" }',
        )
    return _V1_TYPES[name]


def _upgrade_input(net: caffe_pb2.NetParameter) -> None:
    """Turn the input fields into one Input layer, the net's first.

    Inputs without any shape, as in a file of weights, are dropped. With `input_shape` nobody looks
    at `input_dim`, nor at what is left of either when every input has its shape.
    """
    shapes = [list(shape.dim) for shape in net.input_shape]
    if not shapes:
        dims = list(net.input_dim)
        shapes = [dims[start : start + 4] for start in range(0, len(dims) - 3, 4)]
    if net.input_shape or net.input_dim:
        if len(shapes) < len(net.input):
            raise PrototxtError(
                f"the net has {len(net.input)} inputs ({', '.join(map(str, net.input))}), "
                f"{len(net.input_shape)} input_shape and {len(net.input_dim)} input_dim",
                help="give one input_shape { } or four input_dim for each input",
            )
        layers = list(net.layer)
        net.ClearField("layer")
        layer = net.layer.add(name="input", type="Input")
        put(layer, "top", net.input)
        for shape, _ in zip(shapes, net.input, strict=False):
            layer.input_param.shape.add(dim=shape)
        net.layer.extend(layers)
    for field in ("input", "input_shape", "input_dim"):
        net.ClearField(field)


def _upgrade_batch_norm(net: caffe_pb2.NetParameter) -> None:
    """Three `param` of a BatchNorm say nothing to a solver: its statistics are not learned."""
    for layer in net.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for param in layer.param:
                param.lr_mult = 0
                param.decay_mult = 0
