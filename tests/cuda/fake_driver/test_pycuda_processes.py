"""The driver through PyCUDA, with threads, after a fork, and when a process ends."""

import pytest

from tests.cuda.fake_driver import NOTHING_LEFT


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

pinned = gpu.pinned((1000, 1000))

def work():
    while True:
        try:
            twice(gpu, values)
        except DeviceError:  # closed
            pass
        pinned[...] = 1
        started.set()

threading.Thread(target=work, daemon=True).start()
started.wait()
"""
        run(program, left=None)

    @pytest.mark.parametrize("close", [True, False])
    def test_arrays_that_are_left_at_the_end(self, run, close):
        program = """
gpu = runtime.open_device()
array, pinned, event = gpu.array((3,)), gpu.pinned((3,)), gpu.event()
kernel = gpu.function("kernels.cu", "scale")
itself = [array, pinned]
itself.append(itself)
"""
        # PyCUDA destroys a module with its last kernel; the context's end does too.
        run(program, left=NOTHING_LEFT.replace("modules 0", "modules 1") if close else None)

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
