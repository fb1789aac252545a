"""What a GPU does with this package: `make bench-gpu`, or ``python -m benchmarks.gpu``.

Prints the device with the speed of its copies, a table of the recurrence's kernels and one of whole
networks. Progress goes to stderr, and all of it to a file. What fails has its place in the tables
and is listed below them, and the exit status is 1 then. It ends within eight minutes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import caffe_spn
from benchmarks.gpu_arrays import BANK, Random
from benchmarks.gpu_clock import Clock
from benchmarks.gpu_device import COPIED, copy_speed, description
from benchmarks.gpu_networks import Networks
from benchmarks.gpu_parts import Log, Parts
from benchmarks.gpu_recurrence import Recurrence
from caffe_spn.cuda.runtime import runtime
from caffe_spn.errors import DeviceError

SECONDS = 440
# Of these, for the recurrence; the networks have what is left.
RECURRENCE_SECONDS = 270


def measure(gpu, log: Log, quick: bool = False, only: str | None = None) -> bool:
    """Print everything; whether nothing failed.

    Parameters
    ----------
    gpu : Runtime
    log : Log
    quick : bool, default False
        Tiny shapes and one repeat: the numbers mean nothing.
    only : "recurrence" or "networks", optional
    """
    clock = Clock(gpu, quick=quick)
    random = Random(gpu, 1000 if quick else BANK)
    bytes_per_us = copy_speed(random, clock, 1 << 16 if quick else COPIED)
    copies = f"copies at {bytes_per_us / 1e6:.2f} TB/s, bytes read and written"
    log.result(f"{description(gpu)}; {copies}\n")
    everything = Parts(log, SECONDS)
    if only != "networks":
        parts = Parts(log, SECONDS if only else RECURRENCE_SECONDS)
        recurrence = Recurrence(random, clock, parts, quick)
        recurrence.run()
        log.result(f"{recurrence.table(bytes_per_us)}\n")
        everything.failures += parts.failures
        everything.notes += parts.notes
    if only != "recurrence":
        networks = Networks(gpu, clock, everything, quick)
        networks.run()
        log.result(f"{networks.table()}\n")
    for note in everything.notes:
        log.result(f"Note: {note}")
    for failure in everything.failures:
        log.result(f"FAILED: {failure}")
    return not everything.failures


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to see that it works")
    parser.add_argument("--only", choices=("recurrence", "networks"))
    parser.add_argument("--gpu", type=int, default=0, metavar="ID", help="which one")
    parser.add_argument("--log", type=Path, default=Path("bench-gpu.log"))
    options = parser.parse_args(argv)
    try:
        caffe_spn.set_device(options.gpu)
    except DeviceError as error:
        print(f"benchmarks.gpu needs an NVIDIA GPU: {error}", file=sys.stderr)
        return 1
    return 0 if measure(runtime(), Log(options.log), options.quick, options.only) else 1


if __name__ == "__main__":
    sys.exit(main())
