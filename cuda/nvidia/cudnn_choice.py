"""Which of cuDNN's algorithms computes a convolution.

The library proposes algorithms; those that are deterministic and need little enough work space are
measured on the arrays at hand, and the fastest is taken. Another algorithm rounds otherwise, so the
choice is kept on disk, beside the compiled kernels: later runs take the same one, and their results
are equal to the bit.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
from ctypes import POINTER, byref, c_float, c_int, c_size_t, c_void_p
from dataclasses import astuple, dataclass

from caffe_spn.cuda.compiling import cache
from caffe_spn.cuda.nvidia import libraries
from caffe_spn.cuda.nvidia.cudnn_descriptors import NotSupported, call
from caffe_spn.errors import DeviceError

# Algorithms that need more bytes of work space are not considered: so much of the device's memory,
# but not more than some would ever gain from.
MOST_SHARE = 1 / 32
MOST_WORKSPACE = 2**30
# More than the library has for any pass.
_MOST_RESULTS = 16
_ALIGNMENT = 256
_DETERMINISTIC = 1


class Result(ctypes.Structure):
    """What the library says of an algorithm (cudnnConvolutionFwdAlgoPerf_t and its likes)."""

    _fields_ = (
        ("algorithm", c_int),
        ("status", c_int),
        ("milliseconds", c_float),
        ("workspace", c_size_t),
        ("determinism", c_int),
        ("math", c_int),
        ("reserved", c_int * 3),
    )


@dataclass(frozen=True)
class Choice:
    """An algorithm, the bytes of work space that it needs, and the math that it uses."""

    algorithm: int
    workspace: int
    math: int


@dataclass(frozen=True)
class Pass:
    """One of the three passes. All take two operands, the convolution and a result, in this order.

    Attributes
    ----------
    name : str
        As the functions' names have it: Forward, BackwardData or BackwardFilter.
    """

    name: str

    @property
    def run(self) -> str:
        return f"cudnnConvolution{self.name}"

    @property
    def propose(self) -> str:
        return f"cudnnGetConvolution{self.name}Algorithm_v7"

    @property
    def measure(self) -> str:
        return f"cudnnFindConvolution{self.name}AlgorithmEx"

    @property
    def signatures(self) -> dict[str, list]:
        operand, results = [c_void_p, c_void_p], [c_int, POINTER(c_int), POINTER(Result)]
        factor, workspace = POINTER(c_float), [c_void_p, c_size_t]
        return {
            self.run: [c_void_p, factor, *operand, *operand, c_void_p, c_int, *workspace]
            + [factor, *operand],
            self.propose: [*[c_void_p] * 5, *results],
            self.measure: [c_void_p, *operand, *operand, c_void_p, *operand, *results, *workspace],
        }


FORWARD, BACKWARD_DATA, BACKWARD_FILTER = map(Pass, ("Forward", "BackwardData", "BackwardFilter"))


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Tell ctypes the arguments of the functions of all passes."""
    for a_pass in (FORWARD, BACKWARD_DATA, BACKWARD_FILTER):
        libraries.declare(library, a_pass.signatures)
    return library


def most_workspace(device) -> int:
    """Bytes of work space that an algorithm may need on a device (a `DeviceInfo`)."""
    return min(MOST_WORKSPACE, int(device.memory * MOST_SHARE))


def choose(cudnn, a_pass: Pass, operands, convolution, keep_result: bool, key: tuple) -> Choice:
    """The algorithm for a pass: the one kept on disk, or the fastest now.

    Parameters
    ----------
    cudnn : Cudnn
    a_pass : Pass
    operands : sequence of (Descriptor, DeviceArray)
        The two that are read, and the result, which is overwritten.
    convolution : Descriptor
    keep_result : bool
        Measure into work space instead of the result.
    key : tuple
        All that the choice depends on, the pass among it.

    Raises
    ------
    NotSupported
        If no deterministic algorithm does it with `most_workspace` bytes.
    """
    limit = most_workspace(cudnn.runtime.device)
    name = "cudnn-" + hashlib.sha256(repr((key, limit)).encode()).hexdigest()
    kept = _read(cache.load(name))
    if kept is not None:
        return kept
    proposed = _proposed(cudnn, a_pass, operands, convolution, limit)
    if not proposed:
        raise NotSupported(
            f"cuDNN has no deterministic algorithm for this {a_pass.name} with at most"
            f" {limit} bytes of work space"
        )
    if os.environ.get("CAFFE_SPN_CUDNN_MEASURE", "1") == "0":
        # The library's first proposal is the same each time; there is nothing to keep.
        return proposed[0]
    try:
        best = _fastest(cudnn, a_pass, operands, convolution, keep_result, proposed, limit)
    except DeviceError:
        # Too little memory to try them all: what needs least may still work, for this time.
        return min(proposed, key=lambda choice: choice.workspace)
    cache.store(name, json.dumps(astuple(best)).encode())
    return best


def _proposed(cudnn, a_pass, operands, convolution, limit) -> list[Choice]:
    results, found = (Result * _MOST_RESULTS)(), c_int()
    (first, _), (second, _), (result, _) = operands
    call(
        cudnn.library,
        a_pass.propose,
        cudnn.handle,
        *(first.handle, second.handle, convolution.handle, result.handle),
        *(_MOST_RESULTS, byref(found), results),
    )
    return _acceptable(results[: found.value], limit)


def _fastest(cudnn, a_pass, operands, convolution, keep_result, proposed, limit) -> Choice:
    (first, a), (second, b), (result, c) = operands
    workspace = max(choice.workspace for choice in proposed)
    offset = -(-c.nbytes // _ALIGNMENT) * _ALIGNMENT if keep_result else 0
    scratch = cudnn.runtime.scratch(max(1, offset + workspace))
    target = scratch.address if keep_result else c.address
    results, found = (Result * _MOST_RESULTS)(), c_int()
    call(
        cudnn.library,
        a_pass.measure,
        *(cudnn.handle, first.handle, a.address, second.handle, b.address),
        *(convolution.handle, result.handle, target, _MOST_RESULTS, byref(found), results),
        *(scratch.address + offset, workspace),
    )
    measured = _acceptable(results[: found.value], limit)
    return (measured or proposed)[0]


def _acceptable(results, limit: int) -> list[Choice]:
    """The usable ones, in the library's order: the best first."""
    return [
        Choice(r.algorithm, r.workspace, r.math)
        for r in results
        if not r.status and r.determinism == _DETERMINISTIC and r.workspace <= limit
    ]


def _read(kept: bytes | None) -> Choice | None:
    try:
        numbers = json.loads(kept or b"null")
    except ValueError:
        return None
    return Choice(*numbers) if isinstance(numbers, list) and len(numbers) == 3 else None
