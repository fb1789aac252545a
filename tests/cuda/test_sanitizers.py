"""What the sanitizers find in kernels with planted faults.

They end the process at the first report, so each run is a process of its own.
"""

import pytest

from tests.cuda.sanitized import run_or_skip

pytestmark = pytest.mark.usefixtures("emulated_only")

# Launches one kernel of faults.cu on 64 threads.
ONE_KERNEL = """
import numpy as np
from caffe_spn.cuda import runtime
from tests.cuda.emulation.arrays import to_device
from tests.cuda.emulation.driver import EmulatedDriver
from tests.cuda.emulation.strict import make_strict

runtime.install(EmulatedDriver())
gpu = runtime.runtime()
make_strict(gpu)
gpu.driver.thread_order = {order!r}
x, y = to_device(gpu, np.ones(256, np.float32)), to_device(gpu, np.ones(64, np.float32))
gpu.launch("faults.cu", {kernel!r}, 1, {threads}, {arguments}, shared=256)
print("no report")
"""


def report(sanitizer, kernel, order="forward", threads=64, arguments="y"):
    script = ONE_KERNEL.format(kernel=kernel, order=order, threads=threads, arguments=arguments)
    done = run_or_skip(sanitizer, "-c", script)
    assert done.returncode != 0 and "no report" not in done.stdout, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("reads_outside_its_array", "heap-buffer-overflow"),
        ("writes_outside_its_array", "heap-buffer-overflow"),
        ("reads_outside_dynamic_shared", "heap-buffer-overflow"),
        ("reads_outside_shared", "global-buffer-overflow"),
        ("writes_outside_shared", "index 64 out of bounds for type 'float"),
        ("misaligned_vector", "misaligned address"),
    ],
)
def test_the_address_sanitizer_finds(kernel, message):
    found = report("address", kernel)
    assert message in found
    assert kernel in found
    assert "faults.cu" in found


@pytest.mark.parametrize("order", ["forward", "reverse", "shuffled"])
def test_the_thread_sanitizer_finds_a_missing_barrier_in_every_order(order):
    found = report("thread", "missing_barrier", order, threads=256, arguments="x, x, 3")
    assert "data race" in found
    assert "missing_barrier" in found


def test_the_thread_sanitizer_finds_a_missing_syncwarp():
    assert "data race" in report("thread", "missing_syncwarp")
