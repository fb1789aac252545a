"""Networks and a training through PyCUDA, their kernels emulated."""

NET = """
layer { name: "in" type: "Input" top: "x" top: "g" input_param {
  shape { dim: 2 dim: 3 dim: 9 dim: 11 } shape { dim: 2 dim: 36 dim: 9 dim: 11 } } }
layer { name: "spn" type: "SpatialPropagation" bottom: "x" bottom: "g" top: "h" }
layer { name: "relu" type: "ReLU" bottom: "h" top: "h" }
layer { name: "prob" type: "Softmax" bottom: "h" top: "prob" }
force_backward: true
"""
LEARNER = """
layer { name: "d" type: "DummyData" top: "x" top: "y" dummy_data_param {
  shape { dim: 4 dim: 3 dim: 6 dim: 8 } data_filler { type: "gaussian" std: 1 }
  shape { dim: 4 dim: 3 dim: 6 dim: 8 } data_filler { type: "constant" value: 1 } } }
layer { name: "s" type: "Scale" bottom: "x" top: "s" scale_param { bias_term: true } }
layer { name: "loss" type: "EuclideanLoss" bottom: "s" bottom: "y" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" max_iter: 4 display: 1
snapshot_after_train: false random_seed: 7 solver_mode: GPU device_id: 1
"""


class TestNetworks:
    def test_a_net_computes_the_same(self, run, tmp_path):
        (tmp_path / "net.prototxt").write_text(NET)
        program = f"""
import caffe_spn as caffe

def passes():
    net = caffe.Net({str(tmp_path / "net.prototxt")!r}, caffe.TEST)
    random = np.random.default_rng(1)
    for name in net.inputs:
        net.blobs[name].data[...] = random.normal(size=net.blobs[name].shape)
    net.forward()
    net.blobs["prob"].diff[...] = random.normal(size=net.blobs["prob"].shape)
    net.backward()
    blobs = net.blobs.values()
    return [b.data.copy() for b in blobs] + [b.diff.copy() for b in blobs]

on_cpu = passes()
caffe.set_mode_gpu()
for expected, found in zip(on_cpu, passes(), strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
print(runtime.runtime().launches > 4)
"""
        assert run(program) == "True\n"

    def test_passes_become_graphs(self, run, tmp_path):
        (tmp_path / "net.prototxt").write_text(NET)
        program = f"""
import caffe_spn as caffe

def passes(graphs):
    caffe.set_cuda_graphs(graphs)
    net = caffe.Net({str(tmp_path / "net.prototxt")!r}, caffe.TEST)
    random = np.random.default_rng(1)
    found = []
    for _ in range(8):
        for name in net.inputs:
            net.blobs[name].data[...] = random.normal(size=net.blobs[name].shape)
        net.forward()
        net.blobs["prob"].diff[...] = random.normal(size=net.blobs["prob"].shape)
        net.backward()
        found += [net.blobs["prob"].data.copy(), net.blobs["g"].diff.copy()]
    # Larger: the graphs are dropped, and destroyed before the next are made.
    net.blobs["x"].reshape(3, 3, 9, 11)
    net.blobs["g"].reshape(3, 36, 9, 11)
    for _ in range(12):
        net.forward()
        net.backward()
    return found

caffe.set_mode_gpu()
gpu = runtime.runtime()
for expected, found in zip(passes(False), passes(True), strict=True):
    np.testing.assert_array_equal(found, expected)
# The same once more while that is collected: nothing of the first may be used.
passes(True)
print(gpu.graph_launches)
"""
        # Of 8 passes the last four, of 12 larger ones the last six, forward and backward, twice.
        assert run(program) == f"{2 * 2 * (4 + 6)}\n"

    def test_a_graph_that_the_device_is_lost_in(self, run, tmp_path):
        (tmp_path / "net.prototxt").write_text(NET)
        program = f"""
import caffe_spn as caffe
caffe.set_mode_gpu()
net = caffe.Net({str(tmp_path / "net.prototxt")!r}, caffe.TEST)
for _ in range(6):
    net.forward()
assert runtime.runtime().graph_launches
runtime.runtime().launch("kernels.cu", "crash", 1, 1, None)
refused(net.forward, DeviceLost)
"""
        assert "the GPU was lost: " in run(program, left=None)

    def test_a_solver_that_asks_for_a_gpu_trains_on_it(self, run, tmp_path):
        (tmp_path / "net.prototxt").write_text(LEARNER)
        (tmp_path / "solver.prototxt").write_text(SOLVER)
        program = f"""
import re, caffe_spn as caffe
from caffe_spn.tools.main import main

os.chdir({str(tmp_path)!r})
sys.stderr, stderr = open("log", "w+"), sys.stderr
assert main(["train", "--solver", "solver.prototxt"]) == 0
sys.stderr.seek(0)
log, sys.stderr = sys.stderr.read(), stderr
assert "Use GPU with device ID 1" in log, log
on_gpu = [float(x) for x in re.findall(r"#0: loss = (\\S+)", log)]
assert runtime.runtime().launches > 20
caffe.set_mode_cpu()
on_cpu = []
solver = caffe.get_solver("solver.prototxt")
for _ in range(4):
    solver.step(1)
    on_cpu.append(float(solver.net.blobs["loss"].data))
np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-5)
"""
        run(program, stderr=None)

    def test_memory_that_is_short_names_the_layer(self, run, tmp_path):
        (tmp_path / "net.prototxt").write_text(NET)
        program = f"""
import caffe_spn as caffe
caffe.set_mode_gpu()
net = caffe.Net({str(tmp_path / "net.prototxt")!r}, caffe.TEST)
refused(net.forward, OutOfDeviceMemory)
caffe.set_mode_cpu()
assert np.isfinite(net.forward()["prob"]).all()
"""
        lines = run(program, memory=20_000).splitlines()
        assert lines[0] == f"{tmp_path / 'net.prototxt'}:4: layer 'spn' (SpatialPropagation)"
        assert lines[1].startswith("  out of memory on Fake GPU 0: ")
        assert "use a smaller batch" in lines[2]

    def test_a_lost_device_names_the_layer_that_noticed(self, run, tmp_path):
        (tmp_path / "net.prototxt").write_text(NET)
        program = f"""
import caffe_spn as caffe
caffe.set_mode_gpu()
net = caffe.Net({str(tmp_path / "net.prototxt")!r}, caffe.TEST)
net.forward()
runtime.runtime().launch("kernels.cu", "crash", 1, 1, None)
refused(net.forward, DeviceLost)
refused(lambda: net.blobs["h"].data, DeviceLost)
caffe.set_mode_cpu()
fresh = caffe.Net({str(tmp_path / "net.prototxt")!r}, caffe.TEST)
assert np.isfinite(fresh.forward()["prob"]).all()
"""
        printed = run(program, left=None)
        assert printed.startswith(f"{tmp_path / 'net.prototxt'}:")
        assert printed.count("the GPU was lost: ") == 2
        assert "the last kernel that was launched before is crash" in printed
