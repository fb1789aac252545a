"""WindowData: windows of images, foreground and background, as R-CNN is trained on.

Source: `WindowDataLayer` of BVLC Caffe; Girshick et al., Rich feature hierarchies for accurate
object detection and semantic segmentation, CVPR 2014.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np

from caffe_spn.data.batch_layer import BatchLayer
from caffe_spn.data.transformer import read_mean
from caffe_spn.data.window_file import WindowFile, read_windows
from caffe_spn.data.window_source import WindowOptions, WindowSource
from caffe_spn.layer import register

# Caffe prepares this many batches ahead.
PREFETCH = 4


@register("WindowData", bottoms=(), tops=("data", "label"))
class WindowData(BatchLayer):
    """top = (pixel - mean) * scale of windows that are drawn at random and warped to a square

    The first windows of a batch are background, with label 0; the last ones, a fixed part,
    overlap an object and have its class as label. Pixels are blue, green, red.

    Parameters (`window_data_param`)
    --------------------------------
    source : str
        A window file; for each image ``# number``, path, channels, height, width, number of
        windows, then for each window its class, overlap, x1, y1, x2 and y2.
    batch_size : int
        Windows in a batch; must be positive.
    fg_threshold : float, default 0.5
        Windows with at least this overlap are foreground.
    bg_threshold : float, default 0.5
        Of the others, those with less are background; the rest is never drawn.
    fg_fraction : float, default 0.25
        The part of a batch that is foreground.
    context_pad : int, default 0
        Pixels of context on each side of a warped window. What lies outside the image is 0.
    crop_mode : str, default "warp"
        "warp" changes a window's proportions, "square" takes the square around it.
    cache_images : bool, default false
        Keep the image files in memory.
    root_folder : str, default ""
        Put before each path as it is, so it should end with a slash.
    scale : float, default 1
        Multiplies the difference of pixel and mean.
    mean_file, crop_size, mirror : refused
        In the old ``layers { type: WINDOW_DATA }`` they are moved to `transform_param`; in a
        current definition Caffe would ignore them.
    transform_param : TransformationParameter
        crop_size (the side of the square, needed), mirror, mean_file (its centre is subtracted) or
        mean_value. Its scale has no effect, as in Caffe.

    Tops
    ----
    data : (batch_size, 3, crop_size, crop_size)
        The windows.
    label : (batch_size)
        Their classes.

    Raises
    ------
    PrototxtError
        If a parameter is missing or makes no sense.
    DataError
        If the window file, an image or a window is missing or bad; the error names it.

    Examples
    --------
    ::

        layer {
          name: "data" type: "WindowData" top: "data" top: "label"
          window_data_param {
            source: "window_file_2007_trainval.txt" batch_size: 128
            fg_threshold: 0.5 bg_threshold: 0.5 fg_fraction: 0.25 context_pad: 16
          }
          transform_param {
            mean_value: 104 mean_value: 117 mean_value: 123 crop_size: 227 mirror: true
          }
        }
    """

    def setup(self, bottom, top):
        param, transform = self.layer_param.window_data_param, self.layer_param.transform_param
        self._check(param, transform)
        options = WindowOptions(
            batch_size=param.batch_size,
            crop_size=transform.crop_size,
            fg_fraction=param.fg_fraction,
            context_pad=param.context_pad,
            square=param.crop_mode == "square",
            mirror=transform.mirror,
            scale=param.scale,
            cache_images=param.cache_images,
            root_folder=param.root_folder,
        )
        if not 0 <= options.foreground <= param.batch_size:
            raise self.param_error(f"fg_fraction is {param.fg_fraction:g}; it goes from 0 to 1")
        mean = self._mean(transform)
        windows = read_windows(param.source, param.fg_threshold, param.bg_threshold)
        self._check_enough(windows, options)
        top[0].reshape(param.batch_size, 3, transform.crop_size, transform.crop_size)
        top[1].reshape(param.batch_size)
        self.start(partial(_producer, windows, options, mean), PREFETCH)

    def _check(self, param, transform) -> None:
        # Its own scale is what counts, and stays.
        self.refuse_old_fields("window_data_param", ("mean_file", "crop_size", "mirror"))
        if param.batch_size < 1:
            raise self.param_error("batch_size is 0; it must be at least 1")
        if not transform.crop_size:
            raise self.param_error("has no crop_size", help="transform_param { crop_size: 227 }")
        if 2 * param.context_pad >= transform.crop_size:
            raise self.param_error(
                f"context_pad {param.context_pad} on both sides leaves nothing of crop_size"
                f" {transform.crop_size}"
            )
        if param.crop_mode not in ("warp", "square"):
            raise self.param_error(f"crop_mode is '{param.crop_mode}'; it is warp or square")
        if transform.force_gray:
            raise self.param_error("has force_gray; windows are always cut out of colour images")
        if transform.scale != 1:
            warnings.warn(
                f"{self.where}: transform_param's scale has no effect on WindowData, as in Caffe;"
                " window_data_param's has",
                stacklevel=3,
            )

    def _mean(self, transform) -> np.ndarray | None:
        if not transform.HasField("mean_file"):
            values = list(transform.mean_value)
            if len(values) not in (0, 1, 3):
                raise self.param_error(f"has {len(values)} mean_value; it takes 1 or 3")
            return np.array(values, np.float32)[:, None, None] if values else None
        if transform.mean_value:
            raise self.param_error("cannot specify mean_file and mean_value at the same time")
        mean, crop = read_mean(transform.mean_file), transform.crop_size
        # Caffe takes the same offset for both axes.
        first = (mean.shape[2] - crop) // 2
        if mean.shape[0] != 3 or first < 0 or first + crop > mean.shape[1]:
            raise self.param_error(
                f"the mean image {transform.mean_file} is {mean.shape} (channels, height, width);"
                f" it must be colour and have a centre of {crop} x {crop}"
            )
        return mean[:, first : first + crop, first : first + crop]

    def _check_enough(self, windows: WindowFile, options: WindowOptions) -> None:
        for word, found, wanted in (
            ("foreground", windows.foreground, options.foreground),
            ("background", windows.background, options.batch_size - options.foreground),
        ):
            if wanted and not len(found):
                raise self.param_error(
                    f"a batch needs {wanted} {word} window(s), and the window file has none",
                    help="look at fg_threshold, bg_threshold and fg_fraction",
                )


def _producer(windows: WindowFile, options: WindowOptions, mean: np.ndarray | None, seed: int):
    return WindowSource(windows, options, mean, seed).batch
