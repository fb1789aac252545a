"""Time the layers of a net one by one."""

from __future__ import annotations

import sys
import time

import numpy as np

from caffe_spn import device
from caffe_spn.memory import human, memory_need
from caffe_spn.training_log import info


class LayerTimes:
    """Seconds for each layer's forward and backward pass.

    Parameters
    ----------
    net : Net

    Attributes
    ----------
    forward, backward : array of float, (layers,)
        Sums over the passes that were measured.
    undisturbed : float or None
        On a GPU: seconds for a pass forward and backward in which nobody waits between layers.
    """

    def __init__(self, net):
        self.net = net
        self.passes = 0
        self.total = 0.0
        self.forward = np.zeros(len(net.layers))
        self.backward = np.zeros(len(net.layers))
        self.undisturbed: float | None = None
        self._started = 0.0

    def measure(self, passes: int) -> None:
        """Run forward and backward, once for nothing and then `passes` times."""
        info("Performing Forward", "caffe.cpp:344")
        loss = self.net.forward_loss()
        info(f"Initial loss: {loss:g}", "caffe.cpp:349")
        info("Performing Backward", "caffe.cpp:350")
        self.net.backward_pass()
        if device.mode() == device.GPU:
            self.undisturbed = self._undisturbed(passes)
        self._attend()
        info("*** Benchmark begins ***", "caffe.cpp:353")
        info(f"Testing for {passes} iterations.", "caffe.cpp:354")
        for index in range(1, passes + 1):
            started = time.perf_counter()
            self._run()
            device.synchronize()
            seconds = time.perf_counter() - started
            self.total += seconds
            info(
                f"Iteration: {index} forward-backward time: {1000 * seconds:g} ms.",
                "caffe.cpp:382",
            )
        self.passes = passes

    def _undisturbed(self, passes: int) -> float:
        for count in (2, passes):  # the first ones may still prepare something
            device.synchronize()
            started = time.perf_counter()
            for _ in range(count):
                self.net.clear_param_diffs()
                self.net.forward_backward()
            device.synchronize()
        return (time.perf_counter() - started) / passes

    def _attend(self) -> None:
        """Look at the clock before and after each layer from now on."""
        self.net.before_forward(self._start)
        self.net.after_forward(lambda index: self._stop(self.forward, index))
        self.net.before_backward(self._start)
        self.net.after_backward(self._stop_backward)

    def log(self) -> None:
        """Say the averages in the words of `caffe time`."""
        mean = 1000 / self.passes
        info("Average time per layer: ", "caffe.cpp:385")
        for index, name in enumerate(self.net.layer_names):
            info(f"{name:>10}\tforward: {self.forward[index] * mean:g} ms.", "caffe.cpp:388")
            info(f"{name:>10}\tbackward: {self.backward[index] * mean:g} ms.", "caffe.cpp:391")
        info(f"Average Forward pass: {self.forward.sum() * mean:g} ms.", "caffe.cpp:396")
        info(f"Average Backward pass: {self.backward.sum() * mean:g} ms.", "caffe.cpp:398")
        info(f"Average Forward-Backward: {self.total * mean:g} ms.", "caffe.cpp:400")
        info(f"Total Time: {1000 * self.total:g} ms.", "caffe.cpp:402")
        info("*** Benchmark ends ***", "caffe.cpp:403")

    def table(self) -> str:
        """The layers, slowest first, and the memory that is in use."""
        both = self.forward + self.backward
        mean = 1000 / self.passes
        width = max([5, *map(len, self.net.layer_names)])
        lines = [f"{'layer':<{width}}  {'type':<18}  forward ms  backward ms   share"]
        for index in np.argsort(-both, kind="stable"):
            lines.append(
                f"{self.net.layer_names[index]:<{width}}  {self.net.layers[index].type:<18}"
                f"  {self.forward[index] * mean:10.3f}  {self.backward[index] * mean:11.3f}"
                f"  {both[index] / max(both.sum(), 1e-12):6.1%}"
            )
        need = memory_need(self.net)
        lines += [
            f"{'all':<{width}}  {'':<18}  {self.forward.sum() * mean:10.3f}"
            f"  {self.backward.sum() * mean:11.3f}",
            f"memory of the blobs: {human(need.forward)} for forward, {human(need.backward)} with"
            f" backward; peak of this process: {_peak()}",
        ]
        if self.undisturbed is not None:
            lines += self._about_gpu()
        return "\n".join(lines)

    def _about_gpu(self) -> list[str]:
        from caffe_spn.cuda.runtime import runtime

        gpu = runtime()
        in_use = 1000 * self.undisturbed
        return [
            f"computed on {gpu.device.name}, peak of its memory: {human(gpu.memory.peak)}",
            "measured by the host's clock, waiting for the GPU after each layer: all times have a"
            " launch and a wait in them",
            f"forward and backward without waiting between layers: {in_use:.3f} ms",
        ]

    def _run(self) -> float:
        # Gradients of parameters accumulate; they would grow to infinity.
        self.net.clear_param_diffs()
        device.synchronize()
        loss = self.net.forward_loss()
        self.net.backward_pass()
        return loss

    def _start(self, index: int) -> None:
        self._started = time.perf_counter()

    def _stop(self, sums: np.ndarray, index: int) -> None:
        # A GPU works on when a layer has returned.
        device.synchronize()
        sums[index] += time.perf_counter() - self._started

    def _stop_backward(self, index: int) -> None:
        # The net passes over the others: there is only this call to measure.
        if self.net.layer_need_backward[index]:
            self._stop(self.backward, index)


def _peak() -> str:
    try:
        import resource
    except ImportError:  # Windows
        return "not known here"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return human(peak if sys.platform == "darwin" else peak * 1024)
