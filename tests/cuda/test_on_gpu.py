"""What `make test-gpu` makes of the commands that it runs; no GPU is needed to know that."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cuda import find_gpu, on_gpu
from tests.cuda.on_gpu import FOUND, Step, judge

ROOT = Path(__file__).parents[2]
RACE = "========= Error: Race reported between Write access at 0x10 in a.cu:3:f and Read access\n"
PASSED = "tests/cuda/test_copy.py::test_a PASSED [ 1%]\n"


def judged(code, text, stopped_after=None, may_be_stopped=False):
    step = Step("racecheck", (), 1, may_be_stopped)
    judge(step, code, text, stopped_after)
    return step.failed, step.outcome


def test_what_passes():
    text = "....\n===== 4 passed, 2 skipped in 3.21s =====\n"
    assert judged(0, text) == (False, "4 passed, 2 skipped in 3.21s")
    quiet = "========= ERROR SUMMARY: 0 errors\n========= RACECHECK SUMMARY: 0 hazards displayed\n"
    assert judged(0, text + quiet) == (False, "4 passed, 2 skipped in 3.21s")


def test_what_fails():
    assert judged(1, "1 failed, 3 passed in 1.0s\n") == (True, "1 failed, 3 passed in 1.0s")
    assert judged(-11, "") == (True, "ended with -11")
    assert judged(5, "no tests ran\n")[0]


@pytest.mark.parametrize(
    "report",
    [
        RACE,
        "========= Invalid __global__ write of size 4 bytes\n",
        "========= Uninitialized __global__ memory read of size 4 bytes\n",
        "========= ERROR SUMMARY: 12 errors\n",
    ],
)
def test_what_a_sanitizer_reports_is_a_failure(report):
    assert judged(0, report + "3 passed in 1.0s\n") == (True, "the sanitizer found something")
    assert judged(FOUND, "3 passed in 1.0s\n")[0]


def test_a_machine_that_a_sanitizer_does_not_work_on():
    text = "========= Error: Device not supported. Please refer to the documentation.\n"
    ended = "tests/cuda/test_copy.py::test_a ERROR [ 1%]\n1 error in 1.0s\n"
    step = Step("memcheck", (), 1)
    judge(step, 1, text + ended)
    assert (step.word, step.outcome) == ("skipped", "the sanitizer does not work on this machine")
    assert judged(1, text + PASSED + "1 failed, 1 passed in 1.0s\n")[0]


def test_the_end_of_its_time():
    assert judged(-9, PASSED, 60, may_be_stopped=True) == (
        False,
        "stopped after 60 s; 1 tests passed until then",
    )
    assert judged(-9, PASSED, 60)[0]
    assert judged(-9, PASSED + RACE, 60, may_be_stopped=True)[0]
    assert judged(-9, "", 60, may_be_stopped=True)[0], "nothing ran"


def test_a_step_is_shown_logged_and_ended(capfdbinary):
    script = "import time; print('1 passed in 0.1s', flush=True); time.sleep(60)"
    step, log = Step("tests", (sys.executable, "-c", script), 1), io.BytesIO()
    on_gpu.run(step, 2, log)
    assert step.failed and step.outcome.startswith("stopped after 2 s")
    assert b"1 passed" in log.getvalue()
    assert b"1 passed" in capfdbinary.readouterr().out


def test_all_sanitizers_run_where_there_is_one():
    assert [step.name for step in on_gpu.steps(None)] == ["kernels", "tests"]
    steps = on_gpu.steps("/usr/local/cuda/bin/compute-sanitizer")
    names = ["kernels", "tests", "memcheck", "racecheck", "initcheck"]
    assert [step.name for step in steps] == names
    for step in steps:
        assert all((ROOT / part).exists() for part in step.command if part.startswith("tests/"))


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(find_gpu, "problem", lambda: "NVIDIA's driver finds no GPU")
    assert on_gpu.main() == 1
    assert capsys.readouterr().err == (
        "make test-gpu needs an NVIDIA GPU, and NVIDIA's driver finds no GPU.\n"
    )


@pytest.mark.skipif(find_gpu.problem() is None, reason="there is a GPU")
def test_the_check_before_anything_is_installed():
    command = [sys.executable, "-I", "-S", str(ROOT / "tests/cuda/find_gpu.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("This needs an NVIDIA GPU, and ")


def test_on_a_gpu_only_tests_that_use_it_are_run():
    files = ["tests/cuda/test_copy.py", "tests/cuda/test_emulation.py", "tests/cuda/test_on_gpu.py"]
    command = [sys.executable, "-m", "pytest", "--gpu", "--collect-only", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True)
    assert "test_copy.py::" in done.stdout
    assert "test_on_gpu.py::" not in done.stdout
    assert "test_emulation.py::" not in done.stdout
