"""DummyData: blobs that a filler fills.

Source: `DummyDataLayer` of BVLC Caffe.
"""

from caffe_spn.filler import check_type, fill
from caffe_spn.layer import Layer, register
from caffe_spn.layers.own_random import OwnRandom
from caffe_spn.proto import caffe_pb2

OLD_DIMS = ("num", "channels", "height", "width")


@register("DummyData", bottoms=(), tops=("data+",))
class DummyData(OwnRandom, Layer):
    """Constant or random blobs, for tests and timing.

    Parameters
    ----------
    shape : BlobShape, once or for each top
        The tops' dimensions.
    data_filler : FillerParameter, once or for each top, default constant 0
        What the tops are filled with.
    num, channels, height, width : old form of `shape`
        Each once or for each top.

    Tops
    ----
    data+ : as stated
        Constant ones are filled once, when the layer is set up; what the caller writes into
        them stays. Random ones are filled anew in each forward pass.

    Raises
    ------
    PrototxtError
        If shapes or fillers are not one or one for each top, both forms of the shape are used,
        or a filler is unknown or has nothing to fill.

    Examples
    --------
    ::

        layer {
          name: "noise" type: "DummyData" top: "noise"
          dummy_data_param {
            shape { dim: 1 dim: 3 dim: 4 dim: 5 } data_filler { type: "gaussian" }
          }
        }
    """

    def setup(self, bottom, top):
        self.start_random()
        param = self.layer_param.dummy_data_param
        fillers = list(param.data_filler) or [caffe_pb2.FillerParameter()]
        self.fillers = self._for_each_top("data_filler", fillers, len(top))
        for filler in self.fillers:
            check_type(filler)
        for blob, shape in zip(top, self._shapes(param, len(top)), strict=True):
            blob.reshape(*shape)
        self._fill(top, constant=True)

    def _shapes(self, param, tops: int) -> list[list[int]]:
        old = {name: list(getattr(param, name)) for name in OLD_DIMS}
        if not any(old.values()):
            shapes = [list(shape.dim) for shape in param.shape]
            return self._for_each_top("shape", shapes, tops)
        if param.shape:
            raise self.param_error(
                "has both shape and num, channels, height or width",
                help="keep shape; the others are its old form",
            )
        columns = [self._for_each_top(name, values, tops) for name, values in old.items()]
        return [list(dims) for dims in zip(*columns, strict=True)]

    def _for_each_top(self, name: str, values: list, tops: int) -> list:
        if len(values) not in (1, tops):
            raise self.param_error(
                f"has {len(values)} {name} for {tops} top(s)",
                help=f"state {name} once for all tops, or once for each",
            )
        return values * tops if len(values) == 1 else values

    def _fill(self, top, constant: bool) -> None:
        for blob, filler in zip(top, self.fillers, strict=True):
            if (filler.type == "constant") == constant:
                fill(blob.data, filler, self.rng)

    def forward_cpu(self, bottom, top):
        self._fill(top, constant=False)

    def backward_cpu(self, top, propagate_down, bottom):
        pass

    def forward_gpu(self, bottom, top):
        # Fillers work on the host; constant tops stay where they are.
        self.forward_cpu(bottom, top)

    def backward_gpu(self, top, propagate_down, bottom):
        pass
