"""What is handed to cuDNN, which only writes it down."""

import pytest

from caffe_spn.cpu.convolution_geometry import Geometry
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.device.driver import DeviceLost
from caffe_spn.cuda.nvidia import libraries
from caffe_spn.cuda.nvidia.cudnn import Cudnn
from caffe_spn.errors import DeviceError
from tests.cuda.nvidia.cudnn.library import (
    ARRAYS,
    GEOMETRY,
    SCRATCH,
    STREAM,
    Library,
    W,
    X,
    Y,
    result,
)


def of_kind(library, handles):
    return [library.descriptors[h].removesuffix("Descriptor") for h in handles]


def test_a_pass(each, cudnn, library):
    library.measured = [result(7, workspace=1000), result(1)]
    each.run()
    arguments = library.last(f"cudnnConvolution{each.name}")
    handle, alpha, first, a, second, b, convolution, algorithm = arguments[:8]
    workspace, nbytes, beta, result_descriptor, c = arguments[8:]
    assert (handle, alpha, beta) == (cudnn.handle.value, 1.0, each.beta)
    assert [a, b, c] == [ARRAYS[role].address for role in each.roles]
    kinds = ["Filter" if role == "w" else "Tensor" for role in each.roles]
    assert of_kind(library, [first, second, result_descriptor]) == kinds
    assert of_kind(library, [convolution]) == ["Convolution"]
    assert (algorithm, workspace, nbytes) == (7, SCRATCH, 1000)


def test_without_work_space(each, library, opened):
    library.proposed = library.measured = [result(1)]
    each.run()
    opened.scratched.clear()
    each.run()
    assert library.last(f"cudnnConvolution{each.name}")[8:10] == (None, 0)
    assert not opened.scratched


def test_the_choice_is_made_once(each, library):
    each.run()
    before = len(library.calls)
    each.run()
    assert library.names()[before:] == [f"cudnnConvolution{each.name}"]


@pytest.mark.parametrize(("tf32", "asked"), [(False, [3]), (True, [0, 2])])
def test_true_float32_unless_tf32_is_allowed(cudnn, library, monkeypatch, tf32, asked):
    monkeypatch.setattr(libraries, "_tf32", tf32)
    library.measured = [result(1, math=2)]
    cudnn.forward(X, W, Y, GEOMETRY)
    assert [a[1] for name, a in library.calls if name == "cudnnSetConvolutionMathType"] == asked


def test_the_convolution(cudnn, library):
    seen = {}

    def keep(handle, axes, pad, stride, dilation, mode, compute):
        lists = {"pad": pad, "stride": stride, "dilation": dilation}
        seen.update({name: numbers[:axes] for name, numbers in lists.items()})
        seen["mode"] = mode, compute
        return 0

    library.answers["cudnnSetConvolutionNdDescriptor"] = keep
    geometry = Geometry((3, 2), (1, 2), (3, 4), (5, 6), 3)
    cudnn.forward(X, DeviceArray(1, (5, 1, 3, 2)), Y, geometry)
    assert seen == {"pad": [3, 4], "stride": [1, 2], "dilation": [5, 6], "mode": (1, 0)}
    assert library.last("cudnnSetConvolutionGroupCount")[1] == 3


def test_arrays_are_contiguous_float32(cudnn, library):
    seen = []

    def keep(handle, dtype, axes, sizes, steps):
        seen.append((dtype, sizes[:axes], steps[:axes]))
        return 0

    library.answers["cudnnSetTensorNdDescriptor"] = keep
    cudnn.forward(X, W, Y, GEOMETRY)
    assert seen[0] == (0, [2, 3, 8, 8], [192, 64, 8, 1])


def test_descriptors_are_given_back(library, opened):
    made = Cudnn(opened, library)
    made.forward(X, W, Y, GEOMETRY)
    made.close()
    made.close()
    names = library.names()
    for kind, count in (("Tensor", 2), ("Filter", 1), ("Convolution", 1)):
        assert names.count(f"cudnnDestroy{kind}Descriptor") == count
    assert names.count("cudnnDestroy") == 1


def test_the_runtimes_stream_is_set_once(cudnn, library):
    for _ in range(2):
        cudnn.forward(X, W, Y, GEOMETRY)
    sets = [arguments for name, arguments in library.calls if name == "cudnnSetStream"]
    assert sets == [(cudnn.handle.value, STREAM)]


@pytest.mark.parametrize(
    ("version", "major"), [(7605, 7), (8902, None), (90100, None), (92800, None), (100100, 10)]
)
def test_versions(opened, version, major):
    if major is None:
        assert Cudnn(opened, Library(version)).version == version
        return
    message = rf"cuDNN of version {major} \({version}\) was found; 8 and 9 are supported"
    with pytest.raises(DeviceError, match=message) as error:
        Cudnn(opened, Library(version))
    assert error.value.help.startswith("pip install nvidia-cudnn")


def test_a_failure_has_its_name(cudnn, library):
    library.answers["cudnnConvolutionForward"] = 5000
    with pytest.raises(DeviceError, match=r"cudnnConvolutionForward failed .*CUDNN_STATUS_5000"):
        cudnn.forward(X, W, Y, GEOMETRY)


def test_a_device_that_is_lost(cudnn, library, opened):
    def lost():
        raise DeviceLost("it was lost")

    library.answers["cudnnConvolutionForward"] = 5000
    opened.synchronize = lost
    with pytest.raises(DeviceLost):
        cudnn.forward(X, W, Y, GEOMETRY)
