"""`make test-gpu`: tests/cuda on a real GPU, then some of them under NVIDIA's compute-sanitizer.

Everything goes to the screen and to test-gpu.log. It ends within eight minutes, with 0 if all tests
passed and no sanitizer found anything. A sanitizer makes tests many times slower: each has its
time, and if that ends, what it has seen until then counts.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.cuda import find_gpu

ROOT = Path(__file__).parents[2]
LOG = ROOT / "test-gpu.log"
# All steps together.
SECONDS = 460.0
PYTEST = (sys.executable, "-m", "pytest", "--gpu", "-p", "no:cacheprovider", "-rfE")
# What a sanitizer returns when it found something.
FOUND = 86
SANITIZER = (
    f"--error-exitcode={FOUND}",
    "--target-processes=application-only",
    # Of kernels only: libraries try calls that they expect to fail.
    "--report-api-errors=no",
)
REPORT = re.compile(
    r"^=+ .*(?:Race reported|Invalid|Uninitialized|ERROR SUMMARY: [1-9])", re.MULTILINE
)
# What it says where it is kept from the GPU, as in a sandboxed container: nothing runs then.
KEPT_OUT = "Device not supported"
# Races are between threads that share memory, and these share most of it.
SHARING = ("spatial_propagation", "softmax", "batch_norm", "reduction", "lrn")


@dataclass
class Step:
    """A command, and how it ended.

    Attributes
    ----------
    share : float
        Of the time that is left, how much it may take.
    may_be_stopped : bool
        Whether the end of its time is no failure.
    outcome : str
        Empty until it ran.
    """

    name: str
    command: tuple[str, ...]
    share: float
    may_be_stopped: bool = False
    outcome: str = ""
    failed: bool = False
    skipped: bool = False

    @property
    def word(self) -> str:
        return "FAILED" if self.failed else "skipped" if self.skipped else "passed"


def steps(sanitizer: str | None) -> list[Step]:
    """What is run; `sanitizer` is compute-sanitizer's path, if it is installed."""
    # On all cores at once; a test would compile them one by one.
    compiled = Step("kernels", (sys.executable, "-m", "caffe_spn.cuda.precompile"), 0.3)
    made = [compiled, Step("tests", (*PYTEST, "-m", "not slow", "tests/cuda"), 0.7)]
    if sanitizer is None:
        return made
    files = [f"tests/cuda/test_{name}.py" for name in SHARING]
    files = [name if (ROOT / name).exists() else name.replace(".py", "_gpu.py") for name in files]
    selections = {"memcheck": ["tests/cuda"], "racecheck": files, "initcheck": files[:1]}
    for share, (tool, tests) in zip((0.5, 0.6, 1), selections.items(), strict=True):
        checked = (sanitizer, f"--tool={tool}", *SANITIZER, *PYTEST, "-vv", "-m", "sanitized")
        made.append(Step(tool, (*checked, *tests), share, may_be_stopped=True))
    return made


def run(step: Step, seconds: float, log) -> None:
    """Run a step, show what it prints, and note how it ended."""
    process = subprocess.Popen(
        step.command,
        cwd=ROOT,
        env=dict(os.environ, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    stopped = threading.Event()

    def stop() -> None:
        stopped.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(seconds, stop)
    timer.start()
    text = b""
    try:
        while piece := process.stdout.read1(1 << 16):
            text += piece
            for stream in (sys.stdout.buffer, log):
                stream.write(piece)
                stream.flush()
        code = process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    judge(step, code, text.decode(errors="replace"), seconds if stopped.is_set() else None)


def judge(step: Step, code: int, text: str, stopped_after: float | None = None) -> None:
    """Set the step's `outcome`, `failed` and `skipped` from its exit status and what it printed."""
    reports = REPORT.findall(text)
    if KEPT_OUT in text and " PASSED" not in text:
        step.skipped, step.outcome = True, "the sanitizer does not work on this machine"
    elif stopped_after is not None:
        passed = len(re.findall(r" PASSED", text))
        step.failed = not step.may_be_stopped or bool(reports) or " FAILED" in text or not passed
        step.outcome = f"stopped after {stopped_after:.0f} s; {passed} tests passed until then"
    elif code == FOUND or reports:
        step.failed, step.outcome = True, "the sanitizer found something"
    else:
        summary = re.findall(r"^.*\b\d+ (?:passed|failed|errors?)\b.* in [\d.]+s.*$", text, re.M)
        step.failed = code != 0
        step.outcome = summary[-1].strip("= ") if summary else f"ended with {code}"


def main() -> int:
    problem = find_gpu.problem()
    if problem:
        print(f"make test-gpu needs an NVIDIA GPU, and {problem}.", file=sys.stderr)
        return 1
    sanitizer = shutil.which("compute-sanitizer")
    end = time.monotonic() + SECONDS
    planned = steps(sanitizer)
    with LOG.open("wb") as log:

        def say(text: str) -> None:
            print(text, flush=True)
            log.write(f"{text}\n".encode())

        for step in planned:
            say(f"== {step.name}: {' '.join(step.command)}")
            log.flush()
            run(step, step.share * (end - time.monotonic()), log)
        say("\n== make test-gpu")
        for step in planned:
            say(f"{step.word:7}  {step.name}: {step.outcome}")
        if sanitizer is None:
            say("compute-sanitizer is not installed: nothing ran under it")
        say(f"log: {LOG.name}")
    return 1 if any(step.failed for step in planned) else 0


if __name__ == "__main__":
    sys.exit(main())
