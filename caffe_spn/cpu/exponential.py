"""exp for compiled kernels, in a form that a loop over a row turns into vector instructions.

The mathematics library is called number by number, which takes ten times as long.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from caffe_spn.cpu.jit import jit

# Added to a float32, this leaves the nearest integer in its last bits.
ROUNDING = np.float32(1.5 * 2**23)
ROUNDING_BITS = np.int32(ROUNDING.view(np.int32))
LOG2_E = np.float32(1 / math.log(2))
# log 2 in two numbers: the product of the first with a small integer is exact.
LOG_2 = np.float32(0.693359375)
LOG_2_REST = np.float32(math.log(2) - 0.693359375)
# Below this the result is no normal number.
LOWEST = np.float32(-87.33)
ZERO, ONE, BIAS, MANTISSA = np.float32(0), np.float32(1), np.int32(127), np.int32(23)
# (exp(r) - 1 - r) / r^2 for |r| <= log(2) / 2, fitted for the least relative error of exp: 4e-8
# together with the rounding.
C4 = np.float32(0.0013814596459269524)
C3 = np.float32(0.0083687175065279)
C2 = np.float32(0.04166838899254799)
C1 = np.float32(0.1666652113199234)
C0 = np.float32(0.4999999403953552)


def _bitcast(source, target, number):
    @intrinsic
    def cast(typingctx, value):
        def generate(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], number)

        return target(source), generate

    return cast


float_bits = _bitcast(types.float32, types.int32, ir.IntType(32))
bits_float = _bitcast(types.int32, types.float32, ir.FloatType())


@jit(inline="always")
def exp_nonpositive(x):
    """exp(x) of a float32 that is at most 0, or NaN; 0 where that is no normal number."""
    shifted = x * LOG2_E + ROUNDING
    whole = shifted - ROUNDING
    r = (x - whole * LOG_2) - whole * LOG_2_REST
    fraction = (((C4 * r + C3) * r + C2) * r + C1) * r + C0
    fraction = (fraction * r) * r + r + ONE
    power = bits_float((float_bits(shifted) - ROUNDING_BITS + BIAS) << MANTISSA)
    return ZERO if x < LOWEST else fraction * power
