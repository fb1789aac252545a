"""What well-known forks of Caffe have besides Caffe 1.0: fields and layer types, and what to do.

Only names are here; `caffe_spn.extend` makes a fork's messages and layers work.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from caffe_spn.errors import nearest


@dataclass(frozen=True)
class Dialect:
    """A fork, or a family of forks, and the names that it added."""

    name: str
    fields: str = ""
    types: str = ""
    instead: dict[str, str] = field(default_factory=dict)
    """For some of the names: what says or computes the same here."""


_BN = "BatchNorm, then Scale with bias_term: true, compute the same"
_DEPTHWISE = 'type: "Convolution" with group equal to num_output computes the same'
_INTERP = "a Deconvolution with a bilinear filler can replace Interp"

DIALECTS = (
    Dialect(
        "the SSD fork",
        "annotated_data_param detection_evaluate_param detection_output_param multibox_loss_param "
        "norm_param permute_param prior_box_param distort_param emit_constraint expand_param "
        "noise_param resize_param plateau_winsize eval_type ap_version show_per_class_result",
        "AnnotatedData DetectionEvaluate DetectionOutput MultiBoxLoss Normalize Permute PriorBox",
    ),
    Dialect("the SSD and TSN forks", "video_data_param", "VideoData"),
    Dialect("the Fast R-CNN fork", "roi_pooling_param", "ROIPooling"),
    Dialect("the Fast R-CNN and SSD forks", "smooth_l1_loss_param", "SmoothL1Loss"),
    Dialect(
        "the R-FCN fork",
        "psroi_pooling_param box_annotator_ohem_param",
        "PSROIPooling BoxAnnotatorOHEM SmoothL1LossOHEM SoftmaxWithLossOHEM",
    ),
    Dialect(
        "the DeepLab fork",
        "seg_accuracy_param densecrf_param adaptive_bias_channel_param unique_label_param "
        "domain_transform_param mat_read_param mat_write_param hole hole_h hole_w label_type",
        "SegAccuracy DenseCRF AdaptiveBiasChannel UniqueLabel DomainTransform MatRead MatWrite",
        {name: "dilation says the same" for name in ("hole", "hole_h", "hole_w")},
    ),
    Dialect(
        "the DeepLab and PSPNet forks (and ICNet)",
        "interp_param",
        "Interp ImageSegData",
        {"interp_param": _INTERP, "Interp": _INTERP},
    ),
    Dialect(
        "the PSPNet and SegNet forks (and ENet, ICNet)",
        "bn_param",
        "BN",
        {"bn_param": _BN, "BN": _BN},
    ),
    Dialect(
        "the SegNet fork (and ENet)",
        "upsample_param dense_image_data_param sample_weights_test weight_by_label_freqs "
        "class_weighting",
        "Upsample DenseImageData",
        {
            name: "a Deconvolution can replace Upsample, at some loss"
            for name in ("upsample_param", "Upsample")
        },
    ),
    Dialect("the ENet and Intel forks", "spatial_dropout_param", "SpatialDropout"),
    Dialect(
        "FlowNet's Caffe",
        "augmentation_param correlation_param coeff_schedule_param l1_loss_param writer_param "
        "reader_param mean_param resample_param downsample_param lpq_loss_param flow_warp_param "
        "accum_param black_augmentation_param reshape_every_iter",
        "DataAugmentation FlowAugmentation GenerateAugmentationParameters BlackAugmentation "
        "Correlation Correlation1D CustomData FlowWarp Resample Downsample L1Loss LpqLoss Mean "
        "Accum ChannelNorm ImgReader ImgWriter FloatReader FloatWriter FLOWriter",
    ),
    Dialect(
        "the MobileNet forks",
        "",
        "ConvolutionDepthwise DepthwiseConvolution DepthwiseConv ReLU6",
        {
            **dict.fromkeys(
                ("ConvolutionDepthwise", "DepthwiseConvolution", "DepthwiseConv"), _DEPTHWISE
            ),
            "ReLU6": 'type: "Clip" with clip_param { min: 0 max: 6 } computes the same',
        },
    ),
    Dialect("the ShuffleNet forks", "shuffle_channel_param", "ShuffleChannel"),
    Dialect("the SENet fork", "", "Axpy"),
    Dialect(
        "NVCaffe",
        "forward_type backward_type forward_math backward_math default_forward_type "
        "default_backward_type default_forward_math default_backward_math global_grad_scale "
        "cudnn_math_override reduce_buckets store_blobs_in_old_format max_epoch epoch_size min_lr "
        "momentum_policy rampup_interval rampup_lr scale_bias detectnet_groundtruth_param "
        "detectnet_augmentation_param",
        "DetectNetTransformation",
        {"scale_bias": "a Scale layer with bias_term: true behind it says the same"},
    ),
    Dialect(
        "Intel's Caffe",
        "multinode mn_activation_param mn_grad_compress_param bn_stats_batch_size",
        "MnActivation MnParamGradCompress MKLConvolution MKLPooling MKLReLU MKLLRN MKLBatchNorm "
        "MKLConcat MKLEltwise MKLSplit",
    ),
    Dialect(
        "Ristretto and Intel's Caffe",
        "quantization_param",
        "ConvolutionRistretto DeconvolutionRistretto FcRistretto LRNRistretto",
    ),
    Dialect("CRF-as-RNN's Caffe", "multi_stage_meanfield_param", "MultiStageMeanfield"),
    Dialect("the DeconvNet fork", "unpooling_param", "Unpooling WindowSegData WindowInstSegData"),
    Dialect("the caffe-lstm fork (LSTM is Caffe's own)", "lstm_param", "Lstm"),
    Dialect(
        "the CTC forks",
        "ctc_loss_param ctc_decoder_param warp_ctc_loss_param",
        "CTCLoss CtcLoss WarpCTC WarpCTCLoss CTCGreedyDecoder CTCDecoder",
    ),
    Dialect(
        "the YOLO forks",
        "region_loss_param reorg_param yolov3_param yolov3_detection_output_param "
        "yolo_detection_output_param eval_detection_param",
        "RegionLoss Reorg Yolov3 YoloDetectionOutput Yolov3DetectionOutput EvalDetection",
    ),
    Dialect("OpenPose's Caffe", "cpm_transform_param imresize_param", "CPMData ImResize"),
    Dialect("the HED fork", "", "ImageLabelmapData"),
    Dialect("the center-loss fork", "center_loss_param", "CenterLoss"),
    Dialect("the SphereFace fork", "margin_inner_product_param", "MarginInnerProduct"),
    Dialect("the triplet-loss forks", "triplet_loss_param", "TripletLoss"),
    Dialect("the spatial-transformer forks", "st_param", "SpatialTransformer"),
    Dialect("the focal-loss forks", "focal_loss_param", "FocalLoss"),
)

_EXTEND = "--extend adds a fork's messages and layers, see docs/dialects.md"


def _find(names: str, word: str) -> Dialect | None:
    return next((d for d in DIALECTS if word in getattr(d, names).split()), None)


def field_help(name: str) -> str | None:
    """What to say about a field that is no part of Caffe 1.0, where its dialect is known."""
    dialect = _find("fields", name)
    return None if dialect is None else _help(dialect, name)


def type_help(name: str, known: Iterable[str]) -> str:
    """What to say about a layer type that is not known.

    Parameters
    ----------
    name : str
    known : iterable of str
        The types that are.
    """
    dialect = _find("types", name)
    if dialect is not None:
        return _help(dialect, name)
    near = nearest(name, known)
    if near:
        return f"did you mean '{near}'?"
    return (
        "caffe_spn.layer_type_list() names the types; write your own as a Python layer, or see"
        " docs/dialects.md"
    )


def _help(dialect: Dialect, name: str) -> str:
    remedy = dialect.instead.get(name)
    known = f"'{name}' belongs to {dialect.name}; Caffe 1.0 does not know it"
    return f"{known}; {remedy}, or {_EXTEND}" if remedy else f"{known}; {_EXTEND}"
