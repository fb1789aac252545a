"""Small solvers for the tests of training."""

from caffe_spn.solver import get_solver

DATA = """
layer { name: "d" type: "DummyData" top: "x" top: "t"
        dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 2 dim: 2 }
                           data_filler { value: 0.5 } data_filler { value: 1 } } }
"""
LEARNER = """
layer { name: "i" type: "InnerProduct" bottom: "x" top: "y"
        inner_product_param { num_output: 2 weight_filler { value: 0.1 } } }
layer { name: "l" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""
NET = 'name: "tiny"' + DATA + LEARNER
RATE = 'base_lr: 0.1 lr_policy: "fixed"'


def make_solver(folder, text="", net=NET, rate=RATE, **arguments):
    """A solver read from a file in `folder`, with its net beside it; it runs 4 iterations."""
    (folder / "net.prototxt").write_text(net)
    path = folder / "solver.prototxt"
    path.write_text(f'net: "net.prototxt" {rate} max_iter: 4 {text}\n')
    return get_solver(path, **arguments)


def weights(solver):
    """A copy of the learned weights."""
    return solver.net.params["i"][0].data.copy()


class Recorder:
    """A listener that keeps all that it is told."""

    def __init__(self):
        self.iterations, self.displays, self.tests, self.snapshots = [], [], [], []

    def on_iteration(self, iteration, loss):
        self.iterations.append((iteration, loss))

    def on_display(self, event):
        self.displays.append(event)

    def on_test(self, event):
        self.tests.append(event)

    def on_snapshot(self, event):
        self.snapshots.append(event)
