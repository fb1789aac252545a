"""What is known of a data layer whose data are not there: for `caffe-spn check`."""

from __future__ import annotations

import os

from caffe_spn.proto import caffe_pb2

# The message in which each data layer names its source.
_PARAM = {
    "Data": "data_param",
    "HDF5Data": "hdf5_data_param",
    "ImageData": "image_data_param",
    "SegmentationPatch": "segmentation_patch_param",
    "WindowData": "window_data_param",
}


def missing_files(layer_param) -> list[str]:
    """The files and folders that a data layer reads and that do not exist."""
    if layer_param.type not in _PARAM:
        return []
    param = getattr(layer_param, _PARAM[layer_param.type])
    named = [param.source, getattr(param, "coarse", ""), layer_param.transform_param.mean_file]
    return [path for path in named if path and not os.path.exists(path)]


def stated_shapes(layer_param) -> list[tuple[int, ...]] | None:
    """The shapes of a data layer's tops as far as its parameters alone tell them.

    Returns
    -------
    list of tuple, or None
        One for each top; None if they depend on the data.
    """
    if layer_param.type not in _PARAM:
        return None
    param = getattr(layer_param, _PARAM[layer_param.type])
    batch = param.batch_size
    if layer_param.type == "SegmentationPatch":
        if not param.num_classes:
            return None
        side = param.patch_size
        return [(batch, channels, side, side) for channels in (3, param.num_classes, 1)]
    size = _image_size(layer_param, param)
    if size is None:
        return None
    return [(batch, _channels(layer_param), *size), (batch,)][: len(layer_param.top)]


def _image_size(layer_param, param) -> tuple[int, int] | None:
    if layer_param.type == "HDF5Data":
        return None
    crop = layer_param.transform_param.crop_size
    if crop:
        return crop, crop
    if layer_param.type == "ImageData" and param.new_height and param.new_width:
        return param.new_height, param.new_width
    return None


def _channels(layer_param) -> int:
    grey = layer_param.transform_param.force_gray
    if layer_param.type == "ImageData":
        grey = not layer_param.image_data_param.is_color
    # A database may hold anything; what is cropped are nearly always colour images.
    return 1 if grey else 3


def as_input(layer_param, shapes: list[tuple[int, ...]]):
    """An Input layer of the same name and tops that stands in for a data layer."""
    stand_in = caffe_pb2.LayerParameter(name=layer_param.name, type="Input")
    stand_in.top.extend(layer_param.top)
    for shape in shapes:
        stand_in.input_param.shape.add().dim.extend(shape)
    return stand_in
