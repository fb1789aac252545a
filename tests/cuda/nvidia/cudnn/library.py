"""A cuDNN that writes down what it is handed, and proposes the algorithms that it is told."""

from caffe_spn.cpu.convolution_geometry import Geometry
from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.nvidia.cudnn_choice import Result
from tests.cuda.recorder import Recorder

STREAM, SCRATCH, MEMORY = 0x57, 0x7F0000900000, 8 << 30
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
