"""The driver through PyCUDA: opening, memory, kernels. Each test is a process of its own."""

import pytest


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
"""
        run(program)

    def test_empty_arrays(self, run):
        program = """
gpu = runtime.open_device()
array, nothing = gpu.array((0, 3)), np.empty((0, 3), np.float32)
gpu.zero(array)
gpu.copy(array, array)
gpu.upload(array, nothing)
gpu.download(nothing, array)
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


class TestKernels:
    def test_the_stand_in_launches_as_the_emulator_does(self, run):
        program = """
import ctypes
from tests.cuda.emulation.build import Launch
print(runtime.open_device().driver._library.emulated_launch_size() - ctypes.sizeof(Launch))
"""
        assert run(program) == "0\n"

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

    def test_a_launch_that_is_refused_in_a_graph_does_not_lose_the_device(self, run):
        program = """
from caffe_spn.cuda.device import graphs

gpu = runtime.open_device()
try:
    graphs.capture(gpu, lambda: gpu.launch("kernels.cu", "small", 1, 65))
except graphs.NotCaptured as error:
    print(error)
assert gpu.driver.lost is None
assert np.array_equal(twice(gpu, values), 2 * values)
"""
        assert "the kernel small was not launched" in run(program)

    def test_a_kernel_that_is_not_there(self, run):
        program = """
refused(lambda: runtime.open_device().launch("kernels.cu", "none", 1, 1))
"""
        assert "there is no kernel none: cuModuleGetFunction failed" in run(program)

    def test_a_module_that_is_broken(self, run):
        program = """
from caffe_spn.cuda.device import pycuda_driver
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
"""
        run(program)

    def test_events_are_used_again(self, run):
        program = """
gpu = runtime.open_device()
made = {id(gpu.event().event) for _ in range(10)} | {id(gpu.event(timing=True).event)}
print(len(made))
dropping = [gpu.event() for _ in range(3)]
thread = threading.Thread(target=dropping.clear)
thread.start()
thread.join()
"""
        assert run(program) == "2\n"

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
            " encountered; the last kernel that was launched before is crash"
        )
        assert "last snapshot" in printed[1]
        assert printed[2:6:2] == [printed[0]] * 2
        assert "an illegal memory access was encountered" in printed[6]


def test_device_query_runs_a_kernel_on_each(run):
    program = """
from caffe_spn.tools.main import main
assert main(["device_query", "--gpu", "all"]) == 0
"""
    printed = run(program).splitlines()
    assert [line.split(None, 2) for line in printed[-2:]] == [
        ["GPU", str(i), "ran a kernel"] for i in range(2)
    ]
    assert "NVIDIA driver         for CUDA 13.0" in printed
