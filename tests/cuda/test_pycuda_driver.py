"""The driver through PyCUDA, on a stand-in for libcuda.so.1: no GPU is needed.

Each test is a process of its own, as the stand-in must be there when Python starts.
"""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.cuda.emulation.build import compiler
from tests.cuda.fake_driver import build_driver

needs_pycuda = pytest.mark.skipif(
    importlib.util.find_spec("pycuda") is None, reason="PyCUDA is not installed"
)

PRELUDE = """
import os, sys, threading
import numpy as np
from caffe_spn.cuda import runtime
from caffe_spn.cuda.driver import DeviceLost, OutOfDeviceMemory
from caffe_spn.errors import DeviceError
from tests.cuda.fake_driver import use_emulated_kernels

use_emulated_kernels()

def refused(call, kind=DeviceError):
    try:
        call()
    except kind as error:
        print(error)
    else:
        print("nothing was raised")

def twice(gpu, values):
    array = gpu.array(values.shape)
    gpu.upload(array, values)
    gpu.launch("kernels.cu", "scale", 2, 32, array, np.uint8(1), np.float64(2), values.size)
    result = np.empty_like(values)
    gpu.download(result, array)
    return result

values = np.arange(100, dtype=np.float32)
"""
NOTHING_LEFT = "contexts 0 arrays 0 pinned 0 streams 0 events 0 modules 0\n"


@pytest.fixture(scope="module")
def driver_folder(tmp_path_factory):
    if compiler() is None:
        pytest.skip("there is no g++ to compile the stand-in with")
    folder = tmp_path_factory.mktemp("libcuda")
    build_driver(folder)
    return folder


@pytest.fixture
def run(driver_folder, tmp_path):
    """Run a program; returns what it printed, and checks that it gave everything back."""

    def run(program, left=NOTHING_LEFT, stderr="", code=0, **settings):
        report = tmp_path / "report"
        environment = {f"FAKE_CUDA_{name.upper()}": str(value) for name, value in settings.items()}
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + program],
            env={
                **os.environ,
                "LD_LIBRARY_PATH": str(driver_folder),
                "FAKE_CUDA_REPORT": str(report),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert (done.stderr, done.returncode) == (stderr, code)
        if left is not None:
            assert report.read_text() == left
        return done.stdout

    return run


@needs_pycuda
class TestOpening:
    def test_devices(self, run):
        printed = run("for device in runtime.open_device(1).driver.devices(): print(device)")
        about = "capability=(9, 0), memory=67108864, multiprocessors=132, shared_memory=232448"
        assert printed.splitlines() == [
            f"DeviceInfo(ordinal={i}, name='Fake GPU {i}', {about})" for i in range(2)
        ]

    def test_a_wrong_ordinal(self, run):
        printed = run("refused(lambda: runtime.open_device(5))")
        assert printed.startswith("GPU 5 was asked for; there are 2, numbered from 0\n  help: ")

    @pytest.mark.parametrize("settings", [{"devices": 0}, {"init": 100}])
    def test_no_device(self, run, settings):
        printed = run("refused(runtime.open_device)", left=None, **settings)
        assert printed.startswith(
            "the GPU was asked for, but the driver finds none (cuInit failed: no CUDA-capable"
            " device is detected)\n  help: look at nvidia-smi and at CUDA_VISIBLE_DEVICES"
        )

    def test_a_driver_that_does_not_start(self, run):
        printed = run("refused(runtime.open_device)", left=None, init=999)
        assert printed.startswith(
            "NVIDIA's driver does not start (cuInit failed: unknown error)\n  help: "
        )

    def test_an_old_architecture(self, run):
        printed = run("refused(runtime.open_device)", capability=61)
        assert printed.startswith("Fake GPU 0 has compute capability 6.1; at least 7.5 is needed")

    def test_another_device(self, run):
        program = """
runtime.open_device(0)
assert np.array_equal(twice(runtime.runtime(), values), 2 * values)
gpu = runtime.open_device(1)
assert runtime.open_device(1) is gpu
assert np.array_equal(twice(gpu, values), 2 * values)
print(gpu.device.name)
"""
        assert run(program) == "Fake GPU 1\n"

    def test_close_and_open_again(self, run):
        program = """
for _ in range(3):
    gpu = runtime.open_device()
    assert np.array_equal(twice(gpu, values), 2 * values)
    runtime.close_device()
refused(lambda: gpu.array((3,)))
"""
        assert run(program).startswith("Fake GPU 0 was closed\n  help: ")


@needs_pycuda
class TestMemory:
    def test_copies(self, run):
        program = """
gpu = runtime.open_device()
array, other = gpu.array((10, 10)), gpu.array((10, 10))
pinned = gpu.pinned((10, 10))
pinned[...] = values.reshape(10, 10)
gpu.upload(array, pinned, gpu.copy_stream)
event = gpu.event()
gpu.record(event, gpu.copy_stream)
gpu.wait(event)
gpu.copy(other, array)
gpu.zero(array)
result = gpu.pinned((100,))
gpu.download(result, other, gpu.stream)
gpu.synchronize()
assert np.array_equal(result, values)
gpu.download(result, array)
assert not result.any()
gpu.upload(array.part(0, (0,)), values[:0])
del event
"""
        run(program)

    def test_pinned_arrays_are_freed_when_their_last_view_goes(self, run):
        program = """
gpu = runtime.open_device()
held = gpu.driver._pinned
view = gpu.pinned((100, 10))[5]
gpu.pinned((3,))
assert len(held) == 2, held
keep = gpu.pinned((3,))
assert len(held) == 2, held
view[...] = 1
dropping = [view]
del view
thread = threading.Thread(target=dropping.clear)
thread.start()
thread.join()
gpu.pinned((3,))
assert len(held) == 2, held
"""
        run(program)

    def test_out_of_memory(self, run):
        program = """
gpu = runtime.open_device()
kept = gpu.array((200_000,))
refused(lambda: gpu.array((100_000,)), OutOfDeviceMemory)
assert np.array_equal(twice(gpu, values), 2 * values)
"""
        assert run(program, memory=1_000_000).startswith(
            "out of memory on Fake GPU 0: 0.4 MB were asked for; 0.2 MB of 1.0 MB are free, and"
            " this process's arrays hold 0.8 MB\n  help: use a smaller batch"
        )

    def test_a_copy_to_an_address_that_is_not_on_the_device(self, run):
        program = """
from caffe_spn.cuda.array import DeviceArray
gpu = runtime.open_device()
refused(lambda: gpu.upload(DeviceArray(256, (100,)), values))
assert np.array_equal(twice(gpu, values), 2 * values)
"""
        assert run(program) == "cuMemcpyHtoD failed: invalid argument\n"


@needs_pycuda
class TestKernels:
    def test_arguments_and_attributes(self, run):
        program = """
gpu = runtime.open_device()
assert np.array_equal(twice(gpu, values), 2 * values)
kernel = gpu.function("kernels.cu", "small")
print(kernel.name, kernel.registers, kernel.local_bytes, kernel.shared_bytes, kernel.max_threads)
del kernel
"""
        assert run(program) == "small 32 0 0 64\n"

    def test_sizes_may_be_numbers_of_numpy(self, run):
        program = """
gpu = runtime.open_device()
gpu.launch("kernels.cu", "small", np.int64(2), (np.int32(3), 2))
gpu.launch("kernels.cu", "small", (np.int64(2), 1), np.uint8(3))
"""
        run(program)

    def test_much_shared_memory_is_asked_for(self, run):
        program = """
gpu = runtime.open_device()
count = 20_000
array, total = gpu.array((count,)), gpu.array((1,))
gpu.upload(array, np.ones(count, np.float32))
for _ in range(2):
    gpu.launch("kernels.cu", "sum", 1, 32, total, array, count, shared=4 * count)
result = np.empty(1, np.float32)
gpu.download(result, total)
print(result)
refused(lambda: gpu.launch("kernels.cu", "sum", 1, 32, total, array, 0, shared=300_000))
"""
        printed = run(program).splitlines()
        assert printed[0] == "[20000.]"
        assert "invalid argument" in printed[1]

    def test_a_launch_that_the_device_refuses(self, run):
        program = """
gpu = runtime.open_device()
refused(lambda: gpu.launch("kernels.cu", "small", 1, 65))
assert np.array_equal(twice(gpu, values), 2 * values)
"""
        assert run(program) == (
            "the kernel small was not launched with a grid of (1, 1, 1), blocks of (65, 1, 1) and 0"
            " bytes of shared memory: cuLaunchKernel failed: too many resources requested for"
            " launch\n  help: it takes 32 registers, and at most 64 threads in a block; please"
            " report this\n"
        )

    def test_a_kernel_that_is_not_there(self, run):
        program = """
refused(lambda: runtime.open_device().launch("kernels.cu", "none", 1, 1))
"""
        assert "there is no kernel none: cuModuleGetFunction failed" in run(program)

    def test_a_module_that_is_broken(self, run):
        program = """
from caffe_spn.cuda import pycuda_driver
pycuda_driver.compile_cubin = lambda *arguments: b"nothing"
refused(lambda: runtime.open_device().launch("kernels.cu", "scale", 1, 1))
"""
        message = run(program)
        assert message.startswith("the driver, which is for CUDA ")
        assert "device kernel image is invalid" in message

    def test_events_measure(self, run):
        program = """
import time
gpu = runtime.open_device()
start, end = gpu.event(timing=True), gpu.event(timing=True)
gpu.record(start)
time.sleep(0.01)
gpu.record(end)
assert 10 <= gpu.driver.elapsed(start, end) < 5000
del start, end
"""
        run(program)

    def test_a_kernel_that_fails_loses_the_device(self, run):
        program = """
gpu = runtime.open_device()
kept = gpu.array((3,))
pinned = gpu.pinned((3,))
event = gpu.event()
gpu.launch("kernels.cu", "crash", 1, 1, None)
refused(gpu.synchronize, DeviceLost)
refused(lambda: twice(gpu, values), DeviceLost)
import caffe_spn
refused(caffe_spn.set_mode_gpu, DeviceLost)
assert caffe_spn.device.mode() == caffe_spn.device.CPU
runtime.close_device()
refused(caffe_spn.set_mode_gpu)
"""
        printed = run(program, left=None).splitlines()
        assert printed[0] == (
            "the GPU was lost: cuStreamSynchronize failed: an illegal memory access was"
            " encountered; the last kernel that was launched is crash"
        )
        assert "last snapshot" in printed[1]
        assert printed[2:6:2] == [printed[0]] * 2
        assert "an illegal memory access was encountered" in printed[6]


@needs_pycuda
def test_device_query_runs_a_kernel_on_each(run):
    program = """
from caffe_spn.tools.main import main
sys.exit(main(["device_query", "--gpu", "all"]))
"""
    printed = run(program).splitlines()
    assert [line.split(None, 2) for line in printed[-2:]] == [
        ["GPU", str(i), "ran a kernel"] for i in range(2)
    ]
    assert "NVIDIA driver         for CUDA 13.0" in printed


@needs_pycuda
class TestProcesses:
    def test_threads(self, run):
        program = """
gpu = runtime.open_device()
done = []

def work():
    for _ in range(20):
        assert np.array_equal(twice(gpu, values), 2 * values)
    gpu.scratch(100)
    gpu.event()
    done.append(True)

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(done) == 4
del threads, thread
assert gpu.memory.in_use == 0, gpu.memory.in_use
"""
        run(program)

    def test_a_device_opened_and_closed_in_other_threads(self, run):
        program = """
for call in (runtime.open_device, lambda: twice(runtime.runtime(), values), runtime.close_device):
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
assert np.array_equal(twice(runtime.open_device(), values), 2 * values)
"""
        run(program)

    def test_a_daemon_thread_that_python_leaves_behind(self, run):
        program = """
gpu = runtime.open_device()
started = threading.Event()

def work():
    while True:
        try:
            twice(gpu, values)
        except DeviceError:  # closed
            pass
        started.set()

threading.Thread(target=work, daemon=True).start()
started.wait()
"""
        run(program, left=None)

    def test_arrays_that_are_left_at_the_end(self, run):
        program = """
gpu = runtime.open_device()
array, pinned, event = gpu.array((3,)), gpu.pinned((3,)), gpu.event()
kernel = gpu.function("kernels.cu", "scale")
itself = [array, pinned]
itself.append(itself)
"""
        # PyCUDA destroys an event or a module with its last reference; the context's end does too.
        run(program, left=NOTHING_LEFT.replace("events 0 modules 0", "events 1 modules 1"))

    def test_a_forked_child(self, run):
        program = """
gpu = runtime.open_device()
array, pinned, event = gpu.array((3,)), gpu.pinned((3,)), gpu.event()
twice(gpu, values)
child = os.fork()
if not child:
    import caffe_spn
    refused(lambda: twice(gpu, values))
    refused(caffe_spn.set_mode_gpu)
    sys.stdout.flush()
    del array, pinned, event
    sys.exit(5)
del event
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
assert np.array_equal(twice(gpu, values), 2 * values)
"""
        lines = run(program).splitlines()
        assert lines[0].startswith("the GPU was opened before this process was forked")
        assert "multiprocessing.get_context('spawn')" in lines[1]
        assert lines[2:4] == lines[:2]
        assert lines[4:] == ["5"]

    def test_a_child_of_a_process_that_closed_the_device(self, run):
        program = """
runtime.open_device()
runtime.close_device()
child = os.fork()
if not child:
    refused(runtime.open_device)
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
"""
        printed = run(program)
        assert printed.startswith(
            "NVIDIA's driver does not start (cuInit failed: initialization error)"
        )
        assert "spawn" in printed


def imports_fail(monkeypatch, error):
    from caffe_spn.cuda import pycuda_import

    def fail():
        raise error

    monkeypatch.setattr(pycuda_import, "_import", fail)
    with pytest.raises(pycuda_import.DeviceError) as caught:
        pycuda_import.import_driver()
    return str(caught.value)


@pytest.mark.parametrize(
    "error, says, remedy",
    [
        (
            ModuleNotFoundError("No module named 'pycuda'", name="pycuda"),
            "PyCUDA is not installed",
            "pip install 'caffe_spn[gpu]'",
        ),
        (
            ImportError("libcuda.so.1: cannot open shared object file"),
            "there is no NVIDIA driver (libcuda.so.1: cannot open",
            "install NVIDIA's driver",
        ),
        (
            ImportError("undefined symbol: cuCtxCreate_v4"),
            "PyCUDA was built for a newer driver",
            "update NVIDIA's driver",
        ),
        (
            ModuleNotFoundError("No module named 'pytools'", name="pytools"),
            "PyCUDA is installed, but cannot be imported (No module named 'pytools')",
            "docs/gpu.md",
        ),
    ],
)
def test_what_is_missing(monkeypatch, error, says, remedy):
    message = imports_fail(monkeypatch, error)
    assert says in message
    assert remedy in message
