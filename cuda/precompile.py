"""Compile all kernels ahead of their first use: for images of containers, and for clusters.

    python -m caffe_spn.cuda.precompile 8.0 9.0

compiles them for GPUs of compute capability 8.0 and 9.0 into the cache (`compiler.cache_dir`).
Machines without a compiler can use it then. Compiling needs no GPU and no driver. Without a
capability the kernels are compiled for the GPUs of this machine.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from caffe_spn.cuda.compiling import cache
from caffe_spn.cuda.compiling.compiler import SOURCES, compile_cubin
from caffe_spn.errors import CaffeSpnError


def variants(source: str) -> list[tuple[str, ...]]:
    """All options that a source is compiled with: what its launcher names in `OPTIONS`, or none."""
    name = f"caffe_spn.cuda.{source.removesuffix('.cu')}"
    if importlib.util.find_spec(name) is None:
        return [()]
    return list(getattr(importlib.import_module(name), "OPTIONS", [()]))


def precompile(
    capability: tuple[int, int], workers: int | None = None
) -> Iterator[tuple[str, float]]:
    """Compile all sources for one GPU's capability; yields each one's name and seconds.

    The name is followed by the options, where a source has several variants.

    Parameters
    ----------
    capability : (int, int)
    workers : int, optional
        How many at a time; as many as there are processors by default.
    """

    def one(case: tuple[str, tuple[str, ...]]) -> tuple[str, float]:
        name, options = case
        begin = time.perf_counter()
        compile_cubin(name, capability, options)
        return " ".join([name, *options]), time.perf_counter() - begin

    names = sorted(path.name for path in SOURCES.glob("*.cu"))
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        yield from pool.map(one, [(name, options) for name in names for options in variants(name)])


def at_hand() -> list[tuple[int, int]]:
    """The capabilities of this machine's GPUs.

    Raises
    ------
    DeviceError
        If PyCUDA, the driver or a GPU is missing.
    """
    from caffe_spn.cuda.device.pycuda_driver import PyCudaDriver

    return sorted({device.capability for device in PyCudaDriver().devices()})


def capability(text: str) -> tuple[int, int]:
    """(9, 0) of "9.0"."""
    found = re.fullmatch(r"(\d+)\.(\d)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no compute capability such as 9.0")
    return int(found[1]), int(found[2])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m caffe_spn.cuda.precompile",
        description="Compile all kernels ahead of their first use.",
    )
    parser.add_argument(
        "capability",
        nargs="*",
        type=capability,
        help="such as 8.0 or 9.0; by default those of this machine's GPUs",
    )
    parser.add_argument("--clear", action="store_true", help="empty the cache first")
    arguments = parser.parse_args(argv)
    try:
        print(f"cache: {cache.cache_dir()}")
        if arguments.clear:
            print(f"{cache.clear()} entries removed")
        for wanted in arguments.capability or ([] if arguments.clear else at_hand()):
            for name, seconds in precompile(wanted):
                print(f"{wanted[0]}.{wanted[1]} {name}: {seconds:.1f} s", flush=True)
    except (CaffeSpnError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
