"""How Numba's OpenMP threads wait: see `_load_openmp` in caffe_spn.cpu.jit."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba.np.ufunc.omppool")

SCRIPT = "import os, caffe_spn.cpu.jit; assert 'GOMP_SPINCOUNT' not in os.environ"


def settings(**variables) -> str:
    """What OpenMP says of itself when it is loaded."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE", **variables}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_waiting_threads_sleep_soon():
    shown = settings()
    if "GOMP_SPINCOUNT" not in shown:
        pytest.skip("not GNU's OpenMP")
    assert "GOMP_SPINCOUNT = '2000'" in shown


def test_the_users_own_policy_stands():
    assert "GOMP_SPINCOUNT = '2000'" not in settings(OMP_WAIT_POLICY="PASSIVE")
