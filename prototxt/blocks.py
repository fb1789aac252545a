"""Groups of layers that the designs are made of."""

from __future__ import annotations

from caffe_spn import layers as L
from caffe_spn import params as P
from caffe_spn.net_spec import NetSpec, Top

XAVIER = dict(type="xavier")
FIXED = [dict(lr_mult=0, decay_mult=0)]
# Caffe's 0.999 would still average over the first steps when a short training ends.
BN_FRACTION = 0.9


def normalized_image(n: NetSpec) -> Top:
    """Pixel values 0 to 255 become -1 to 1, inside the net, so that no user has to do it."""
    n.input = L.Power(n.image, scale=1 / 128, shift=-1)
    return n.input


def convolution(bottom: Top, channels: int, filler: dict = XAVIER, **settings) -> Top:
    """A convolution 3x3 that keeps height and width, unless `settings` say otherwise."""
    settings = dict(kernel_size=3, pad=1, weight_filler=filler) | settings
    return L.Convolution(bottom, num_output=channels, **settings)


def conv_relu(n: NetSpec, name: str, bottom: Top, channels: int, **settings) -> Top:
    """Convolution and ReLU in place: layers NAME and relu_NAME."""
    n[name] = convolution(bottom, channels, **settings)
    n[f"relu_{name}"] = L.ReLU(n[name], in_place=True)
    return n[f"relu_{name}"]


def conv_norm_elu(n: NetSpec, name: str, bottom: Top, channels: int) -> Top:
    """Convolution, batch norm with scale and bias, ELU: NAME, bn_NAME, scale_NAME, elu_NAME."""
    n[name] = convolution(bottom, channels, bias_term=False)
    n[f"bn_{name}"] = L.BatchNorm(n[name], in_place=True, moving_average_fraction=BN_FRACTION)
    n[f"scale_{name}"] = L.Scale(
        n[f"bn_{name}"],
        in_place=True,
        bias_term=True,
        param=[dict(lr_mult=1, decay_mult=0), dict(lr_mult=1, decay_mult=0)],
    )
    n[f"elu_{name}"] = L.ELU(n[f"scale_{name}"], in_place=True)
    return n[f"elu_{name}"]


def max_pool(bottom: Top) -> Top:
    """Half the height and width."""
    return L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=2, stride=2)


def upsample(bottom: Top, channels: int) -> Top:
    """Twice the height and width, bilinear: a fixed grouped deconvolution, known to every Caffe."""
    return L.Deconvolution(
        bottom,
        param=FIXED,
        convolution_param=dict(
            num_output=channels,
            group=channels,
            kernel_size=4,
            stride=2,
            pad=1,
            bias_term=False,
            weight_filler=dict(type="bilinear"),
        ),
    )


def add_up(*bottoms: Top) -> Top:
    """The sum of feature maps of equal size."""
    return L.Eltwise(*bottoms, operation=P.Eltwise.SUM)
