"""SegmentationPatch: patches of a segmentation set with coarse maps, to train a refinement network.

Reads a set in the layout of PASCAL VOC and yields, patch by patch, the image, a coarse
probability map and the labels. Patches lie where the ground truth has more than one label.

Source: Liu et al., Learning Affinity via Spatial Propagation Networks, NIPS 2017, section 5.
"""

from __future__ import annotations

from functools import partial

from caffe_spn.data.batch_layer import BatchLayer
from caffe_spn.data.coarse_files import CoarseFolder
from caffe_spn.data.patches import PatchOptions, PatchSource
from caffe_spn.data.voc import VocSet
from caffe_spn.layer import register
from caffe_spn.proto import caffe_pb2


@register("SegmentationPatch", bottoms=(), tops=("image", "coarse", "label"))
class SegmentationPatch(BatchLayer):
    """Patches for refinement training, prepared by a background thread.

    Parameters (`segmentation_patch_param`)
    ---------------------------------------
    source : str
        The set's root folder.
    split : str, default "train"
        The list in its ImageSets/Segmentation.
    images_folder : str, default "JPEGImages"
        The folder of the images in `source`.
    labels_folder : str, default "SegmentationClass"
        The folder of the label maps, PNGs of class indices.
    coarse : str, default ""
        Folder of coarse maps, NAME.npy, .npz, .h5 or .mat, (K, h, w) of any resolution; without
        it they are made from the labels (`caffe_spn.data.coarse.make_coarse`).
    num_classes : int
        By default the number of classes in the set's meta.json.
    ignore_label : int, default 255
        The label of pixels without a class, and of what lies outside the image.
    batch_size : int, default 8
        Patches in a batch.
    patch_size : int, default 128
        Height and width of a patch.
    patches_per_image : int, default 4
        How many patches of a batch are of one image.
    long_side : int, default 0
        Resize images so that the longer side has this many pixels; 0 keeps their size.
    scale_min : float, default 0.9
        Augmentation, in the TRAIN phase only: a patch is scaled by a random factor from here on.
    scale_max : float, default 1.1
        The largest such factor.
    rotation : float, default 15
        Augmentation: the largest angle, in degrees, either way.
    mirror : bool, default true
        Augmentation: mirror every other patch, at random.
    shift : int, default 2
        By how many pixels the coarse map may be displaced along each axis: always where it is
        made from the labels, in the TRAIN phase only where it is read from a file.
    mean_value : one or three floats (blue, green, red), default none
        Subtracted from the pixels.
    image_scale : float, default 1
        Pixel values are (value - mean) * image_scale, and 0 outside the image.
    coarse_factor : int, default 8
        Made coarse maps: the factor by which they are averaged down and scaled up again.
    coarse_warp : float, default 3
        Made coarse maps: by how many pixels (standard deviation) a smooth field warps them.
    coarse_noise : float, default 0.1
        Made coarse maps: the standard deviation of the noise in the small map.
    random_seed : int, default 0
        0 takes a seed from the package's generator, which the solver's `random_seed` fixes.
    prefetch : int, default 4
        Batches that the thread prepares ahead; 0 for no thread.

    Tops
    ----
    image : (N, 3, P, P)
        Blue, green, red.
    coarse : (N, K, P, P)
        Probabilities that sum to one over K.
    label : (N, 1, P, P)
        Class indices; `ignore_label` outside the image.

    Raises
    ------
    PrototxtError
        If a parameter makes no sense.
    DataError
        If a file is missing or bad; it names the file.

    Examples
    --------
    ::

        layer {
          name: "data" type: "SegmentationPatch" top: "image" top: "coarse" top: "label"
          segmentation_patch_param {
            source: "data/mydata" split: "train" num_classes: 6
            mean_value: 104 mean_value: 117 mean_value: 123 image_scale: 0.0078125
          }
        }
    """

    def setup(self, bottom, top):
        param = self.layer_param.segmentation_patch_param
        self._check(param)
        voc = VocSet(
            param.source, param.split, param.images_folder, param.labels_folder, param.long_side
        )
        options = self._options(param, voc)
        coarse = None
        if param.coarse:
            coarse = CoarseFolder(param.coarse, options.num_classes)
            for name in voc.names:
                coarse.path(name)
        for blob, channels in zip(top, (3, options.num_classes, 1), strict=True):
            blob.reshape(options.batch_size, channels, options.patch_size, options.patch_size)
        self.start(partial(_producer, voc, options, coarse), param.prefetch, param.random_seed)

    def _check(self, param) -> None:
        if not param.source:
            raise self.param_error(
                "names no set", help="segmentation_patch_param { source: 'VOC2012' }"
            )
        for name in ("batch_size", "patch_size", "patches_per_image", "coarse_factor"):
            if getattr(param, name) < 1:
                raise self.param_error(f"{name} is 0; it must be at least 1")
        if not 0 < param.scale_min <= param.scale_max:
            raise self.param_error(
                f"scales from {param.scale_min:g} to {param.scale_max:g} make no range",
                help="0 < scale_min <= scale_max",
            )
        for name in ("rotation", "coarse_warp", "coarse_noise"):
            if not getattr(param, name) >= 0:
                raise self.param_error(
                    f"{name} is {getattr(param, name):g}; it must not be negative"
                )
        if len(param.mean_value) not in (0, 1, 3):
            raise self.param_error(
                f"has {len(param.mean_value)} mean_value",
                help="give none, one, or three (blue, green, red)",
            )

    def _options(self, param, voc: VocSet) -> PatchOptions:
        num_classes = param.num_classes or voc.num_classes
        if not num_classes:
            raise self.param_error(
                "does not say how many classes there are, nor does a meta.json in the set",
                help="segmentation_patch_param { num_classes: 21 }",
            )
        if not 2 <= num_classes <= 256:
            raise self.param_error(f"num_classes is {num_classes}; labels allow 2 to 256")
        train = self.phase == caffe_pb2.TRAIN
        return PatchOptions(
            num_classes=num_classes,
            batch_size=param.batch_size,
            patch_size=param.patch_size,
            patches_per_image=param.patches_per_image,
            ignore_label=param.ignore_label,
            scale_min=param.scale_min if train else 1.0,
            scale_max=param.scale_max if train else 1.0,
            rotation=param.rotation if train else 0.0,
            shift=param.shift if train or not param.coarse else 0,
            mirror=param.mirror and train,
            mean=tuple((list(param.mean_value) or [0.0]) * (3 if len(param.mean_value) < 2 else 1)),
            image_scale=param.image_scale,
            coarse_factor=param.coarse_factor,
            coarse_warp=param.coarse_warp,
            coarse_noise=param.coarse_noise,
        )


def _producer(voc: VocSet, options: PatchOptions, coarse: CoarseFolder | None, seed: int):
    return PatchSource(voc, options, seed, coarse).batch
