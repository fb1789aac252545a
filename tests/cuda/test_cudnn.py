"""What is handed to cuDNN and which algorithm is taken; the library only writes it down."""

import ctypes
from types import SimpleNamespace

import pytest

from caffe_spn.cpu.convolution_geometry import Geometry
from caffe_spn.cuda import cudnn_choice, libraries
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.cudnn import Cudnn
from caffe_spn.cuda.cudnn_choice import Result
from caffe_spn.cuda.cudnn_descriptors import NotSupported
from caffe_spn.errors import DeviceError
from tests.cuda.recorder import Recorder

STREAM, SCRATCH = 0x57, 0x7F0000900000
GEOMETRY = Geometry.square(3, pad=1)
SHAPES = {"x": (2, 3, 8, 8), "w": (5, 3, 3, 3), "y": (2, 5, 8, 8)}
X, W, Y = (
    DeviceArray(0x7F0000000000 + 0x10000 * i, shape) for i, shape in enumerate(SHAPES.values())
)
PASSES = {
    "Forward": ("forward", (X, W, Y), ("x", "w", "y"), 0),
    "BackwardData": ("backward_data", (Y, W, X), ("w", "y", "x"), 0),
    "BackwardFilter": ("backward_weights", (Y, X, W), ("x", "y", "w"), 1),
}
ARRAYS = {"x": X, "w": W, "y": Y}


def result(algorithm, workspace=0, deterministic=True, status=0, math=3):
    return Result(algorithm, status, 1.0, workspace, int(deterministic), math)


class Library(Recorder):
    """A cuDNN that proposes and measures what it is told.

    Attributes
    ----------
    proposed, measured : list of Result
    """

    def __init__(self, version=91002):
        super().__init__(
            cudnnGetVersion=version,
            cudnnGetErrorString=lambda status: b"CUDNN_STATUS_%d" % status,
            cudnnGetConvolutionNdForwardOutputDim=self._output,
        )
        self.without.add("cudnnGetLastErrorString")
        self._made = 0x1000
        self.descriptors: dict[int, str] = {}
        for kind in ("", "TensorDescriptor", "FilterDescriptor", "ConvolutionDescriptor"):
            self.answers[f"cudnnCreate{kind}"] = lambda pointer, kind=kind: self._create(
                pointer, kind
            )
        self.proposed = [result(1), result(0)]
        self.measured = [result(0), result(1)]
        for name in PASSES:
            self.answers[f"cudnnGetConvolution{name}Algorithm_v7"] = self._propose
            self.answers[f"cudnnFindConvolution{name}AlgorithmEx"] = self._measure

    def _create(self, pointer, kind):
        self._made += 1
        pointer.contents.value = self._made
        self.descriptors[self._made] = kind
        return 0

    @staticmethod
    def _output(convolution, x, w, axes, shape):
        for i, size in enumerate(SHAPES["y"]):
            shape[i] = size
        return 0

    def _propose(self, *arguments):
        return self._give(self.proposed, *arguments[-2:])

    def _measure(self, *arguments):
        return self._give(self.measured, *arguments[-4:-2])

    @staticmethod
    def _give(results, count, target):
        count.contents.value = len(results)
        for i, each in enumerate(results):
            target[i] = each
        return 0


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CAFFE_SPN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CAFFE_SPN_CUDNN_MEASURE", raising=False)
    monkeypatch.delenv("CAFFE_SPN_TF32", raising=False)


@pytest.fixture
def library():
    return Library()


@pytest.fixture
def opened():
    """What of a runtime is asked for."""
    made = SimpleNamespace(
        stream=SimpleNamespace(handle=STREAM),
        enter=lambda: None,
        device=SimpleNamespace(name="Some GPU", capability=(9, 0)),
        scratched=[],
    )

    def scratch(nbytes):
        made.scratched.append(nbytes)
        return DeviceArray(SCRATCH, (nbytes,), "uint8")

    made.scratch = scratch
    return made


@pytest.fixture
def cudnn(library, opened):
    return Cudnn(opened, library)


@pytest.fixture(params=PASSES)
def each(request, cudnn):
    """The name in functions, what runs it, the roles of its operands, and beta."""
    method, operands, roles, beta = PASSES[request.param]
    run = lambda: getattr(cudnn, method)(*operands, GEOMETRY)  # noqa: E731
    return SimpleNamespace(name=request.param, run=run, roles=roles, beta=beta)


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


def test_what_is_measured(each, cudnn, library, opened):
    library.proposed = [result(1, workspace=5000), result(0, workspace=300)]
    each.run()
    arguments = library.last(f"cudnnFindConvolution{each.name}AlgorithmEx")
    assert arguments[0] == cudnn.handle.value
    assert (arguments[2], arguments[4]) == tuple(ARRAYS[r].address for r in each.roles[:2])
    target, workspace, nbytes = arguments[7], arguments[11], arguments[12]
    assert nbytes == 5000
    if each.name == "BackwardFilter":
        # The weights' diff has been added to before: measuring must not write into it.
        assert target == SCRATCH
        assert workspace >= SCRATCH + W.nbytes
        assert workspace % 256 == 0
        assert opened.scratched[0] == workspace - SCRATCH + 5000
    else:
        assert (target, workspace) == (ARRAYS[each.roles[2]].address, SCRATCH)


def test_only_deterministic_algorithms_that_fit(each, library):
    most = cudnn_choice.MOST_WORKSPACE
    library.measured = [
        result(0, deterministic=False),
        result(1, workspace=most + 1),
        result(2, status=3000),
        result(5, workspace=most),
        result(4),
    ]
    each.run()
    assert library.last(f"cudnnConvolution{each.name}")[7] == 5


def test_no_such_algorithm(each, library):
    library.proposed = [result(0, deterministic=False)]
    with pytest.raises(NotSupported, match=f"no deterministic algorithm for this {each.name}"):
        each.run()
    before = len(library.calls)
    with pytest.raises(NotSupported):
        each.run()
    assert len(library.calls) == before, "it was asked again"


def test_when_measuring_fails_little_memory_is_taken(each, library, opened):
    def no_room(nbytes):
        raise DeviceError("out of memory")

    library.proposed = [result(1, workspace=5000), result(2), result(3, workspace=7)]
    scratch, opened.scratch = opened.scratch, no_room
    each.run()
    assert library.last(f"cudnnConvolution{each.name}")[7] == 2
    # It counts for this process only.
    opened.scratch, later = scratch, Library()
    method, operands, *_ = PASSES[each.name]
    getattr(Cudnn(opened, later), method)(*operands, GEOMETRY)
    assert f"cudnnFindConvolution{each.name}AlgorithmEx" in later.names()


def test_later_processes_take_the_same(each, library, opened):
    library.measured = [result(6, workspace=64)]
    each.run()
    later = Library()
    method, operands, *_ = PASSES[each.name]
    getattr(Cudnn(opened, later), method)(*operands, GEOMETRY)
    assert later.last(f"cudnnConvolution{each.name}")[7:10] == (6, SCRATCH, 64)
    assert not any("Algorithm" in name for name in later.names())


@pytest.mark.parametrize("change", ["version", "device", "tf32"])
def test_other_circumstances_are_measured_anew(library, opened, change, monkeypatch):
    Cudnn(opened, library).forward(X, W, Y, GEOMETRY)
    monkeypatch.setattr(libraries, "_tf32", change == "tf32")
    later = Library(version=91003 if change == "version" else 91002)
    if change == "device":
        opened.device = SimpleNamespace(name="Another GPU", capability=(9, 0))
    Cudnn(opened, later).forward(X, W, Y, GEOMETRY)
    assert "cudnnFindConvolutionForwardAlgorithmEx" in later.names()


def test_a_damaged_record_is_measured_anew(library, opened, monkeypatch):
    monkeypatch.setattr(cudnn_choice.cache, "load", lambda name: b"[1, 2")
    Cudnn(opened, library).forward(X, W, Y, GEOMETRY)
    assert "cudnnFindConvolutionForwardAlgorithmEx" in library.names()


def test_measuring_can_be_switched_off(each, library, monkeypatch):
    monkeypatch.setenv("CAFFE_SPN_CUDNN_MEASURE", "0")
    library.proposed = [result(4), result(1)]
    each.run()
    assert library.last(f"cudnnConvolution{each.name}")[7] == 4
    assert not any("Find" in name for name in library.names())


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


def test_a_result_is_as_large_as_in_c():
    assert ctypes.sizeof(Result) == 48
    assert Result.workspace.offset == 16
    assert Result.math.offset == 28
