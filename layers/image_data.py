"""ImageData: images and labels from a list of files.

Source: `ImageDataLayer` of BVLC Caffe.
"""

from __future__ import annotations

import warnings
from copy import copy
from functools import partial

import numpy as np

from caffe_spn.data.batch_layer import BatchLayer
from caffe_spn.data.image_list import ImageListSource
from caffe_spn.data.transformer import DataTransformer
from caffe_spn.layer import register

# Caffe prepares this many batches ahead.
PREFETCH = 4


@register("ImageData", bottoms=(), tops=("data", "label"))
class ImageData(BatchLayer):
    """Images in the order of a list, or shuffled; blue, green, red, values from 0 to 255.

    Parameters (`image_data_param`)
    -------------------------------
    source : str
        A text file with ``path label`` on each line.
    root_folder : str, default ""
        Put before each path; should end with a slash.
    batch_size : int, default 1
        Images in a batch.
    new_height, new_width : int, default 0
        Resize to this size (bilinearly, as OpenCV does); 0 keeps it. Give both or none.
    is_color : bool, default true
        Otherwise one grey channel.
    shuffle : bool, default false
        A new order in each pass over the list.
    rand_skip : int, default 0
        Leave out up to this many images at the start (fewer than that, drawn at random).
    scale, mean_file, crop_size, mirror : refused
        In the old ``layers { type: IMAGE_DATA }`` they are moved to `transform_param`; in a
        current definition Caffe would ignore them.
    transform_param : TransformationParameter
        mean_file or mean_value, scale, crop_size (at random in training, the centre in testing)
        and mirror. force_color and force_gray have no effect, as in Caffe.

    Tops
    ----
    data : (N, C, H, W)
        H and W are those of the first image of the batch, or crop_size.
    label : (N)

    Raises
    ------
    PrototxtError
        If the parameters contradict each other.
    DataError
        If the list or an image is missing or bad; it names the image and its line.

    Examples
    --------
    ::

        layer {
          name: "data" type: "ImageData" top: "data" top: "label"
          image_data_param { source: "train.txt" batch_size: 32 shuffle: true }
          transform_param {
            mean_value: 104 mean_value: 117 mean_value: 123 crop_size: 224 mirror: true
          }
        }
    """

    def setup(self, bottom, top):
        param, transform = self.layer_param.image_data_param, self.layer_param.transform_param
        self.refuse_old_fields("image_data_param")
        if bool(param.new_height) != bool(param.new_width):
            raise self.param_error(
                f"new_height is {param.new_height} and new_width {param.new_width}",
                help="set both or none",
            )
        if param.batch_size < 1:
            raise self.param_error("batch_size is 0; it must be at least 1")
        if transform.force_color or transform.force_gray:
            warnings.warn(
                f"{self.where}: force_color and force_gray have no effect on ImageData, as in"
                " Caffe; is_color has",
                stacklevel=2,
            )
        transformer = DataTransformer(transform, self.phase, self.where)
        source = ImageListSource(
            param.source,
            transformer,
            param.batch_size,
            root_folder=param.root_folder,
            new_size=(param.new_height, param.new_width) if param.new_height else None,
            color=param.is_color,
            shuffle=param.shuffle,
        )
        self.start(partial(_producer, source, param.rand_skip), PREFETCH)
        # As in Caffe, the first image that will be read gives the shape.
        first = source.read(source.entry(source.skip))
        top[0].reshape(param.batch_size, *transformer.shape(first))
        top[1].reshape(param.batch_size)


def _producer(source: ImageListSource, rand_skip: int, seed: int):
    # A copy: the thread of an earlier run may still be busy with the source.
    source = copy(source)
    source.seed = seed
    if rand_skip:
        source.skip = int(np.random.default_rng([seed, 0, 2]).integers(rand_skip))
    return source.batch
