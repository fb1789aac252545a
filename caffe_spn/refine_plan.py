"""How a refinement net works through an image: the size of its tiles, and their memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from caffe_spn.errors import ShapeError
from caffe_spn.memory import memory_need
from caffe_spn.tiling import Span, spans

DEFAULT_MEMORY = 2e9
DEFAULT_OVERLAP = 64
# All memory relative to that of the blobs; 1.7 was measured with the demo network (its batch
# normalization keeps copies), 1.1 with that for HELEN.
WORKSPACE = 1.7
_PROBE = 128


@dataclass
class Plan:
    """How an image is worked through: its tiles, and the memory that one of them needs."""

    rows: list[Span]
    columns: list[Span]
    multiple: int
    bytes: float

    @property
    def tile(self) -> tuple[int, int]:
        """Height and width of a tile."""
        return len(self.rows[0].weight), len(self.columns[0].weight)

    @property
    def count(self) -> int:
        return len(self.rows) * len(self.columns)


def plan(
    net,
    height: int,
    width: int,
    tile: int | None = None,
    overlap: int = DEFAULT_OVERLAP,
    memory: float = DEFAULT_MEMORY,
) -> Plan:
    """The tiles for an image of a size; see `caffe_spn.refine.refine` for the parameters.

    Raises
    ------
    ShapeError
        If `tile` is not larger than `overlap`.
    """
    multiple = stride_multiple(net)
    per_pixel = bytes_per_pixel(net, multiple)

    def up(value: float) -> int:
        return math.ceil(value / multiple) * multiple

    overlap = up(overlap)
    if tile is not None and up(tile) <= overlap:
        raise ShapeError(
            f"tiles of {up(tile)} pixels do not reach over an overlap of {overlap}"
            f" (both in multiples of {multiple}, which the net needs)",
            help="make the tile larger, or the overlap smaller",
        )
    if tile is None and up(height) * up(width) * per_pixel <= memory:
        tiles = (up(height), up(width))
    else:
        side = up(tile) if tile is not None else int(math.sqrt(memory / per_pixel))
        side = max(side // multiple * multiple, overlap + multiple)
        tiles = tuple(_even_tile(up(size), side, overlap, multiple) for size in (height, width))
    rows = spans(up(height), tiles[0], overlap, multiple)
    columns = spans(up(width), tiles[1], overlap, multiple)
    area = len(rows[0].weight) * len(columns[0].weight)
    return Plan(rows, columns, multiple, area * per_pixel)


def _even_tile(size: int, side: int, overlap: int, multiple: int) -> int:
    """The smallest tile that covers `size` in as many steps as `side` would."""
    if size <= side:
        return size
    count = math.ceil((size - overlap) / (side - overlap))
    return math.ceil((size + (count - 1) * overlap) / (count * multiple)) * multiple


def stride_multiple(net) -> int:
    """What height and width of the input must be multiples of: the product of the net's strides.

    Skip connections add maps of equal size only if no stride has rounded.
    """
    scale: dict[int, Fraction] = {}
    layers = zip(net.layer_params, net.bottom_id_vecs, net.top_id_vecs, strict=True)
    for param, bottoms, tops in layers:
        below = max((scale[i] for i in bottoms), default=Fraction(1))
        for i in tops:
            scale[i] = below * _stride(param)
    return math.lcm(*(s.numerator for s in scale.values())) if scale else 1


def _stride(param) -> Fraction:
    if param.type == "Pooling":
        pooling = param.pooling_param
        if pooling.global_pooling:
            return Fraction(1)
        return Fraction(math.lcm(pooling.stride_h or pooling.stride, pooling.stride_w or 1))
    if param.type not in ("Convolution", "Deconvolution", "Im2col"):
        return Fraction(1)
    conv = param.convolution_param
    stride = math.lcm(*(conv.stride or [1]), conv.stride_h or 1, conv.stride_w or 1)
    return Fraction(1, stride) if param.type == "Deconvolution" else Fraction(stride)


def bytes_per_pixel(net, multiple: int = 1) -> float:
    """Memory that the net takes for each pixel of its input, by estimate; reshapes the net."""
    side = math.ceil(_PROBE / multiple) * multiple
    reshape_inputs(net, side, side)
    return memory_need(net).data * WORKSPACE / side**2


def reshape_inputs(net, height: int, width: int) -> None:
    """Give `image` and `coarse` a height and width, and everything above them."""
    for name in ("image", "coarse"):
        blob = net.blobs[name]
        blob.reshape(1, blob.shape[1], height, width)
    net.reshape()
