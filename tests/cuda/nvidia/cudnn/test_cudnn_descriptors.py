"""cuDNN's own idea of shapes, from the real library where it is installed; it needs no device."""

import itertools

import pytest

from caffe_spn.cpu.convolution_geometry import Geometry
from caffe_spn.cuda.nvidia import cudnn_choice, cudnn_descriptors, libraries
from caffe_spn.cuda.nvidia.cudnn import Cudnn, check_version
from caffe_spn.cuda.nvidia.cudnn_descriptors import FMA_MATH, Descriptors, NotSupported
from caffe_spn.errors import DeviceError

SQUARES = itertools.product((1, 3, 4), (1, 2, 5), (0, 1, 3), (1, 2), (1, 3))
CASES = [
    *[((2, 6, 11, 14), Geometry.square(*numbers)) for numbers in SQUARES],
    ((1, 6, 9, 20), Geometry((1, 5), (3, 2), (0, 4), (1, 3), 2)),
    ((2, 6, 4, 5, 6), Geometry((2, 2, 2), (1, 2, 1), (0, 1, 0), (1, 1, 2), 3)),
]


@pytest.fixture(scope="module")
def library():
    if libraries.find("cudnn") is None:
        pytest.skip("cuDNN is not installed (pip install nvidia-cudnn-cu13)")
    return cudnn_choice.declare(cudnn_descriptors.declare(libraries.load("cudnn")))


@pytest.mark.parametrize(("x", "geometry"), CASES)
def test_outputs_have_caffes_shapes(library, x, geometry):
    w = (6, x[1] // geometry.group, *geometry.kernel)
    y = (x[0], 6, *geometry.output_shape(x[2:]))
    made = Descriptors(library, x, w, y, geometry, FMA_MATH)
    assert made.output_shape(len(y)) == y


def test_another_output_is_not_supported(library):
    message = r"\(1, 3, 4, 4\) by \(2, 3, 3, 3\) is \(1, 2, 2, 2\) to it, not \(1, 2, 4, 4\)"
    with pytest.raises(NotSupported, match=message):
        Descriptors(library, (1, 3, 4, 4), (2, 3, 3, 3), (1, 2, 4, 4), Geometry.square(3), FMA_MATH)


def test_a_kernel_beyond_the_padding_is_refused(library):
    """Therefore `cuda.convolution` does not ask cuDNN for it."""
    shapes = (2, 3, 2, 6), (2, 3, 3, 3), (2, 2, 1, 2)
    with pytest.raises(DeviceError, match=r"status \d+ \(CUDNN_STATUS_BAD_PARAM\)"):
        Descriptors(library, *shapes, Geometry.square(3, 2), FMA_MATH)


def test_the_librarys_words_are_passed_on(library):
    with pytest.raises(DeviceError, match="cudnnSetTensorNdDescriptor failed") as error:
        cudnn_descriptors.tensor(library, (1, 2, -3, 4))
    assert "CUDNN_STATUS_BAD_PARAM" in error.value.message


def test_the_installed_version_is_supported(library):
    assert check_version(library) >= 8000


def test_the_installed_library_has_the_functions(library):
    with pytest.raises(DeviceError, match="cudnnCreate failed") as error:
        Cudnn(None, library).close()
        pytest.skip("there is a device")
    assert "nvidia-cudnn-cu12" in error.value.help
