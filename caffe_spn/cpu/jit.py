"""How the package compiles its kernels with Numba: the flags, the cache, and views without cost."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

# Contraction to fused multiply-adds, and signed zeros taken as equal: nothing that would assume
# that there are no NaNs or infinities, or that would reorder a sum.
FAST = {"contract", "nsz", "arcp"}
# Turns that a thread of GNU's OpenMP waits for work before it sleeps: some ten microseconds.
SPINS = "2000"


def _load_openmp() -> None:
    """Load Numba's OpenMP threads such that they do not spin for long.

    By default they wait for milliseconds. Beside other busy processes every parallel loop would
    then take the time slices that its own waiting threads use up: 20 times as long as needed. The
    library reads its settings once, when it is loaded.
    """
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        return
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        # Where Numba has no OpenMP, it takes its own threads, which sleep.
        with contextlib.suppress(ImportError):
            import numba.np.ufunc.omppool  # noqa: F401
    finally:
        del os.environ["GOMP_SPINCOUNT"]


_load_openmp()


@functools.cache
def _stamp(path: Path) -> tuple[float, int]:
    """A stamp that changes when a kernel's module, or one that it may inline from, changes."""
    found, new = set(), {path}
    while new:
        source = new.pop()
        found.add(source)
        for names in re.findall(r"caffe_spn\.cpu(?:\.(\w+)| import (\w+))", source.read_text()):
            sibling = path.with_name("".join(names) + ".py")
            if sibling.exists() and sibling not in found:
                new.add(sibling)
    stats = [source.stat() for source in found]
    return max(s.st_mtime for s in stats), sum(s.st_size for s in stats)


def jit(parallel: bool = False, inline: str = "never") -> Callable[[Callable], Callable]:
    """Decorator that compiles a kernel at its first call and keeps the machine code on disk.

    Parameters
    ----------
    parallel : bool, default False
        Whether `prange` loops run on several threads; call such a kernel only under
        `caffe_spn.cpu.parallel_section`.
    inline : {"never", "always"}
        As for `numba.njit`.
    """

    def decorate(function: Callable) -> Callable:
        dispatcher = njit(
            cache=True,
            nogil=True,
            fastmath=FAST,
            error_model="numpy",
            parallel=parallel,
            inline=inline,
        )(function)
        # Numba's cache compares only the age of the kernel's own file, but the machine code
        # contains what was inlined from other files too.
        with contextlib.suppress(AttributeError):
            dispatcher._cache._cache_file._source_stamp = _stamp(
                Path(function.__code__.co_filename)
            )
        return dispatcher

    return decorate


@intrinsic
def _pointer(typingctx, address):
    """The void pointer to an address."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.intp), generate


# Slices of an ordinary array count references with atomic operations on one counter, which the
# threads of a parallel loop would fight over. Views by address have no counter.


@jit(inline="always")
def float_view(array, shape):
    """`array` (C-contiguous float32) seen in another shape, without reference counting."""
    return carray(_pointer(array.ctypes.data), shape, dtype=np.float32)


@jit(inline="always")
def byte_view(array, shape):
    """`array` (C-contiguous uint8) seen in another shape, without reference counting."""
    return carray(_pointer(array.ctypes.data), shape, dtype=np.uint8)


@intrinsic
def prefetch(typingctx, address):
    """Ask for the cache line at an address, which need not be mapped, in the second-level cache."""

    def generate(context, builder, signature, arguments):
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        declared = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], declared)
        read, second_level, data = number(0), number(2), number(1)
        at = builder.inttoptr(arguments[0], pointer)
        builder.call(function, [at, read, second_level, data])
        return context.get_dummy_value()

    return types.void(types.intp), generate
