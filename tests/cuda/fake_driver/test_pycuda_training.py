"""A training through PyCUDA whose GPU is lost: snapshots are whole, the message names one."""

from tests.cuda.fake_driver.test_pycuda_networks import LEARNER, SOLVER


def write(folder):
    (folder / "net.prototxt").write_text(LEARNER)
    (folder / "solver.prototxt").write_text(SOLVER + 'snapshot: 2 snapshot_prefix: "s"')


# Trains on the GPU; a kernel of somebody else's fails after the third iteration.
LOST = """
import caffe_spn as caffe
from caffe_spn.solver import Solver
from caffe_spn.tools.main import main

class Crash:
    def on_iteration(self, iteration, loss):
        if iteration == 3:
            runtime.runtime().launch("kernels.cu", "crash", 1, 1, None)

init = Solver.__init__
def watched(solver, *arguments, **options):
    init(solver, *arguments, **options)
    solver.add_listener(Crash())
Solver.__init__ = watched
os.chdir({folder!r})
sys.stderr = sys.stdout
print(main(["train", "--solver", "solver.prototxt"]))
caffe.set_mode_cpu()
Solver.__init__ = init
solver = caffe.get_solver("solver.prototxt")
solver.restore("s_iter_2.solverstate")
solver.step(1)
print("the CPU goes on:", solver.iter)
"""
RESUMED = """
import caffe_spn as caffe
from caffe_spn.tools.main import main

os.chdir({folder!r})
sys.stderr = sys.stdout
assert main(["train", "--solver", "solver.prototxt", "--iterations", "6", *{flags!r}]) == 0
weights = caffe.Net("net.prototxt", caffe.TEST, weights="s_iter_6.caffemodel").params["s"]
print("weights:", [blob.data.tobytes().hex() for blob in weights])
"""


def test_a_lost_gpu_and_what_follows(run, tmp_path):
    write(tmp_path)
    shown = run(LOST.format(folder=str(tmp_path)), left=None)
    assert "the last kernel that was launched before is " in shown
    assert shown.count("the GPU was lost: ") == 1 and "Traceback" not in shown
    help = "help: iteration 3 was under way; in a new process go on from s_iter_2.solverstate ("
    assert help in shown
    assert "\n1\n" in shown and "the CPU goes on: 3" in shown
    resumed, whole = (
        run(RESUMED.format(folder=str(tmp_path), flags=flags), left=None).splitlines()[-1]
        for flags in (["--snapshot", "s_iter_2.solverstate"], [])
    )
    assert resumed.startswith("weights: ") and resumed == whole
