"""What cuDNN is told of a convolution: descriptors of its arrays and of how the kernel moves.

They need no device.

Source: the cuDNN documentation, "cudnn_ops" and "cudnn_cnn" (the API that exists since version 1).
"""

from __future__ import annotations

import ctypes
import weakref
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p

from caffe_spn.cuda.nvidia import libraries
from caffe_spn.errors import DeviceError

_FLOAT, _NCHW, _CROSS_CORRELATION = 0, 0, 1
# Multiply-add in float32, and what the library takes by itself, which is TF32 on most devices.
FMA_MATH, DEFAULT_MATH = 3, 0

_INTS = POINTER(c_int)
_SIGNATURES = {
    **{f"cudnnCreate{kind}Descriptor": [POINTER(c_void_p)] for kind in ("Tensor", "Filter")},
    **{f"cudnnDestroy{kind}Descriptor": [c_void_p] for kind in ("Tensor", "Filter")},
    "cudnnCreateConvolutionDescriptor": [POINTER(c_void_p)],
    "cudnnDestroyConvolutionDescriptor": [c_void_p],
    "cudnnSetTensorNdDescriptor": [c_void_p, c_int, c_int, _INTS, _INTS],
    "cudnnSetFilterNdDescriptor": [c_void_p, c_int, c_int, c_int, _INTS],
    "cudnnSetConvolutionNdDescriptor": [c_void_p, c_int, _INTS, _INTS, _INTS, c_int, c_int],
    "cudnnSetConvolutionGroupCount": [c_void_p, c_int],
    "cudnnSetConvolutionMathType": [c_void_p, c_int],
    "cudnnGetConvolutionNdForwardOutputDim": [c_void_p, c_void_p, c_void_p, c_int, _INTS],
}


class NotSupported(DeviceError):
    """A convolution that cuDNN does not do; im2col and cuBLAS do."""


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Tell ctypes the arguments of the functions that this module calls."""
    library.cudnnGetErrorString.restype = c_char_p
    library.cudnnGetVersion.restype = c_size_t
    return libraries.declare(library, _SIGNATURES)


def call(library: ctypes.CDLL, name: str, *arguments) -> None:
    """Call a function of the library.

    Raises
    ------
    NotSupported
        If that is the status.
    DeviceError
        With the name of any other status, and what the library says about it.
    """
    status = getattr(library, name)(*arguments)
    if status:
        word = library.cudnnGetErrorString(status).decode(errors="replace")
        kind = NotSupported if "NOT_SUPPORTED" in word else DeviceError
        raise kind(f"cuDNN: {name} failed with status {status} ({word}){_last_error(library)}")


def _last_error(library: ctypes.CDLL) -> str:
    """What a library of version 9 remembers of its last failure."""
    try:
        function = library.cudnnGetLastErrorString
    except AttributeError:
        return ""
    text = ctypes.create_string_buffer(512)
    function(text, c_size_t(len(text)))
    message = text.value.decode(errors="replace").strip()
    return f": {message}" if message else ""


class Descriptor:
    """A descriptor of the library, which is given back when this object goes.

    Parameters
    ----------
    library : ctypes.CDLL
        As `declare` returns it.
    kind : str
        Tensor, Filter or Convolution.
    """

    def __init__(self, library: ctypes.CDLL, kind: str):
        self.library = library
        self.handle = c_void_p()
        call(library, f"cudnnCreate{kind}Descriptor", byref(self.handle))
        destroy = getattr(library, f"cudnnDestroy{kind}Descriptor")
        # At the end of the process there is nothing left to give back.
        weakref.finalize(self, destroy, self.handle).atexit = False

    def set(self, function: str, *arguments) -> Descriptor:
        """Call a function that takes the descriptor first."""
        call(self.library, function, self.handle, *arguments)
        return self


def tensor(library: ctypes.CDLL, shape) -> Descriptor:
    """A float32 array, C-contiguous."""
    steps = [1]
    for size in reversed(shape[1:]):
        steps.insert(0, steps[0] * size)
    made = Descriptor(library, "Tensor")
    return made.set("cudnnSetTensorNdDescriptor", _FLOAT, len(shape), _ints(shape), _ints(steps))


def weights(library: ctypes.CDLL, shape) -> Descriptor:
    """Weights (K, C / group, ...), float32, C-contiguous."""
    made = Descriptor(library, "Filter")
    return made.set("cudnnSetFilterNdDescriptor", _FLOAT, _NCHW, len(shape), _ints(shape))


def convolution(library: ctypes.CDLL, geometry, math: int) -> Descriptor:
    """How a kernel moves: a `Geometry`, and FMA_MATH or DEFAULT_MATH."""
    made = Descriptor(library, "Convolution")
    steps = [_ints(numbers) for numbers in (geometry.pad, geometry.stride, geometry.dilation)]
    made.set(
        "cudnnSetConvolutionNdDescriptor", len(geometry.pad), *steps, _CROSS_CORRELATION, _FLOAT
    )
    made.set("cudnnSetConvolutionGroupCount", geometry.group)
    return made.set("cudnnSetConvolutionMathType", math)


class Descriptors:
    """A convolution: x, w, y, and how w moves over x.

    Parameters
    ----------
    library : ctypes.CDLL
        As `declare` returns it.
    x_shape, w_shape, y_shape : tuple of int
        (N, C, ...), (K, C / group, ...), (N, K, ...), with two or three spatial axes.
    geometry : Geometry
        Of as many axes.
    math : int
        FMA_MATH or DEFAULT_MATH.

    Raises
    ------
    NotSupported
        If the library would make another y of it.
    """

    def __init__(self, library: ctypes.CDLL, x_shape, w_shape, y_shape, geometry, math: int):
        self.x = tensor(library, x_shape)
        self.y = tensor(library, y_shape)
        self.w = weights(library, w_shape)
        self.convolution = convolution(library, geometry, math)
        made = self.output_shape(len(y_shape))
        if made != tuple(y_shape):
            raise NotSupported(f"cuDNN: {x_shape} by {w_shape} is {made} to it, not {y_shape}")

    def output_shape(self, axes: int) -> tuple[int, ...]:
        """The shape of y as the library computes it."""
        shape = (c_int * axes)()
        self.convolution.set(
            "cudnnGetConvolutionNdForwardOutputDim", self.x.handle, self.w.handle, axes, shape
        )
        return tuple(shape)


def _ints(numbers) -> ctypes.Array:
    return (c_int * len(numbers))(*numbers)
