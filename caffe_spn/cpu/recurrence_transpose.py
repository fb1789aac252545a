"""Blocks of a plane turned so that scan steps become rows, and back.

A horizontal scan steps over columns, but memory runs along rows. Turning a block of columns
first lets every step work on contiguous memory, so that all scans share the same loops. Tiles
of 16 x 16 are turned in vector registers, with four rounds of exchanges; LLVM splits the
vectors where the machine has shorter ones.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from caffe_spn.cpu.jit import jit
from caffe_spn.cpu.recurrence_window import FLOAT_BYTES

TILE = 16


@intrinsic
def _turn_tile(typingctx, source, source_stride, target, target_stride):
    """Transpose one 16 x 16 float32 tile; addresses and strides in bytes."""

    def exchange_masks(distance):
        # Round `distance` swaps the off-diagonal halves of 2 distance x 2 distance squares.
        lanes = range(TILE)
        low = [k if not k & distance else TILE + k - distance for k in lanes]
        high = [k + distance if not k & distance else TILE + k for k in lanes]
        mask = ir.VectorType(ir.IntType(32), TILE)
        return ir.Constant(mask, low), ir.Constant(mask, high)

    def generate(context, builder, signature, arguments):
        source, source_stride, target, target_stride = arguments
        vector = ir.VectorType(ir.FloatType(), TILE)

        def row(base, stride, i):
            address = builder.add(base, builder.mul(stride, stride.type(i)))
            return builder.inttoptr(address, vector.as_pointer())

        rows = []
        for i in range(TILE):
            load = builder.load(row(source, source_stride, i))
            load.align = FLOAT_BYTES
            rows.append(load)
        for distance in (1, 2, 4, 8):
            low, high = exchange_masks(distance)
            for i in range(TILE):
                if not i & distance:
                    a, b = rows[i], rows[i | distance]
                    rows[i] = builder.shuffle_vector(a, b, low)
                    rows[i | distance] = builder.shuffle_vector(a, b, high)
        for i in range(TILE):
            builder.store(rows[i], row(target, target_stride, i)).align = FLOAT_BYTES
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp), generate


@jit()
def columns_to_rows(plane, start, count, rows):
    """rows[j, k] = plane[k, start + j] for j < count; both are C-contiguous float32."""
    height, width = plane.shape
    stride = rows.shape[1]
    tall = height // TILE * TILE
    wide = count // TILE * TILE
    for k in range(0, tall, TILE):
        for j in range(0, wide, TILE):
            _turn_tile(
                plane.ctypes.data + (k * width + start + j) * FLOAT_BYTES,
                width * FLOAT_BYTES,
                rows.ctypes.data + (j * stride + k) * FLOAT_BYTES,
                stride * FLOAT_BYTES,
            )
        for j in range(wide, count):
            for i in range(k, k + TILE):
                rows[j, i] = plane[i, start + j]
    for k in range(tall, height):
        for j in range(count):
            rows[j, k] = plane[k, start + j]


@jit()
def rows_to_columns(rows, halo, plane, start, count):
    """plane[k, start + j] = rows[halo + j, halo + k] for j < count, the way back."""
    height, width = plane.shape
    stride = rows.shape[1]
    tall = height // TILE * TILE
    wide = count // TILE * TILE
    for k in range(0, tall, TILE):
        for j in range(0, wide, TILE):
            _turn_tile(
                rows.ctypes.data + ((halo + j) * stride + halo + k) * FLOAT_BYTES,
                stride * FLOAT_BYTES,
                plane.ctypes.data + (k * width + start + j) * FLOAT_BYTES,
                width * FLOAT_BYTES,
            )
        for j in range(wide, count):
            for i in range(k, k + TILE):
                plane[i, start + j] = rows[halo + j, halo + i]
    for k in range(tall, height):
        for j in range(count):
            plane[k, start + j] = rows[halo + j, halo + k]
