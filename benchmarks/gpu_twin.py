"""The networks of `benchmarks.gpu_networks` in PyTorch, with the same weights and inputs."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks import gpu_torch
from benchmarks.torch_net import TorchNet
from benchmarks.training_step import LEARNING

# What both solvers clip gradients at.
CLIP = 1000


class Twin(TorchNet):
    """A network in PyTorch, on a device.

    Parameters
    ----------
    net : Net
    device : str
    **options
        For `gpu_torch.propagate`: which loop.
    """

    def __init__(self, net, device: str, **options):
        def units(param, x, guidance):
            for _ in range(param.units):
                x = gpu_torch.propagate(x, guidance, **options)
            return x

        super().__init__(net, units)
        names = [layer.top for layer in net.layer_params if layer.type == "Input"]
        self.inputs = {
            name: torch.tensor(net.blobs[name].data, device=device)
            for tops in names
            for name in tops
        }
        self.to(device)

    def _PassOn(self, layer, weights, x, guidance):
        return gpu_torch.PassOn.apply(x, guidance)

    def infer(self) -> torch.Tensor:
        """The probabilities."""
        with torch.no_grad():
            return self.run(**self.inputs)[0]["prob"]

    def loss(self) -> torch.Tensor:
        with torch.no_grad():
            return self(**self.inputs)

    def step(self) -> Callable[[], None]:
        """What trains for one step."""
        trained = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(trained, **LEARNING)

        def step() -> None:
            optimizer.zero_grad()
            self(**self.inputs).backward()
            torch.nn.utils.clip_grad_norm_(trained, CLIP)
            optimizer.step()

        return step


def as_caffe() -> None:
    """Let PyTorch compute as we do: in true float32, with the quickest algorithms."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True


def wait(device: str) -> Callable[[], None]:
    """What waits for a device."""
    return (lambda: None) if device == "cpu" else torch.cuda.synchronize


def reset_peak(device: str) -> None:
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak(device: str) -> int:
    """The most bytes that PyTorch's arrays took since `reset_peak`; 0 on the CPU."""
    return 0 if device == "cpu" else torch.cuda.max_memory_allocated()
