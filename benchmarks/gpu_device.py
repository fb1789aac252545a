"""The device of a measurement: what it is, and how fast it copies."""

from __future__ import annotations

import shutil
import subprocess

from benchmarks.gpu_arrays import Random
from benchmarks.gpu_clock import Clock

COPIED = 1 << 30
# What nvidia-smi says of a GPU's state.
QUERY = {
    "driver": "driver_version",
    "SM clock now": "clocks.sm",
    "at most": "clocks.max.sm",
    "memory clock": "clocks.mem",
    "power limit": "power.limit",
    "ECC": "ecc.mode.current",
}


def description(gpu) -> str:
    """A line: the device, and its driver, clocks and ECC where nvidia-smi tells them."""
    info = gpu.device
    capability = ".".join(map(str, info.capability))
    parts = [
        f"{info.name} (compute capability {capability}, {info.multiprocessors} multiprocessors,"
        f" {info.memory / 2**30:.0f} GiB)",
        *state(info.ordinal),
    ]
    return "; ".join(parts)


def state(ordinal: int) -> list[str]:
    """What nvidia-smi says of a GPU; empty without it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    fields = ",".join(QUERY.values())
    command = [program, f"--id={ordinal}", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    values = [value.strip() for value in done.stdout.strip().split(",")]
    if done.returncode or len(values) != len(QUERY):
        return []
    return [f"{name} {value}" for name, value in zip(QUERY, values, strict=True)]


def copy_speed(random: Random, clock: Clock, nbytes: int = COPIED) -> float:
    """Bytes a microsecond that a large copy within the device reads and writes."""
    gpu = random.gpu
    # Of random numbers: zeros need less power, and the clocks follow that.
    source, target = random.normal(nbytes // 4), gpu.array((nbytes // 4,))
    time = clock.time(lambda i: gpu.copy(target, source))
    return 2 * source.nbytes / time.us
