"""Device arrays for measurements: random, poisoned, compared."""

from __future__ import annotations

import math

import numpy as np

from caffe_spn.cuda.array import DeviceArray

# Floats of a random array that is repeated to fill larger ones.
BANK = 1 << 22
# Elements of an array that are compared, from its beginning: whole maps, where they are many.
COMPARED = 1 << 24
# The most by which results may differ, relative to their norm.
TOLERANCE = 1e-4


class Random:
    """Fills arrays with random numbers, without making them all on the host.

    Parameters
    ----------
    gpu : Runtime
    count : int
        Different numbers.
    """

    def __init__(self, gpu, count: int = BANK):
        self.gpu = gpu
        self.rng = np.random.default_rng(0)
        self.bank = gpu.array((count,))
        gpu.upload(self.bank, self.rng.standard_normal(count, np.float32))
        # Three of them, as gates, are stable.
        self.gates = gpu.array((count,))
        gpu.upload(self.gates, self.rng.uniform(-1 / 3, 1 / 3, count).astype(np.float32))

    def normal(self, *shape: int) -> DeviceArray:
        """A new array of standard normal numbers."""
        return self._filled(shape, self.bank)

    def gate(self, *shape: int) -> DeviceArray:
        """A new array of gates."""
        return self._filled(shape, self.gates)

    def _filled(self, shape, bank: DeviceArray) -> DeviceArray:
        made = self.gpu.array(shape)
        # The first piece starts anywhere, so that no two arrays are the same.
        begin, at = int(self.rng.integers(bank.size)), 0
        while at < made.size:
            count = min(bank.size - begin, made.size - at)
            self.gpu.copy(made.part(at, (count,)), bank.part(begin, (count,)))
            at, begin = at + count, 0
        return made


def poison(gpu, *arrays: DeviceArray) -> None:
    """Fill with NaN, so that what is not written shows."""
    for array in arrays:
        gpu.driver.fill(array.address, 0xFF, array.nbytes, gpu.stream)


def head(gpu, array: DeviceArray) -> np.ndarray:
    """The first elements of an array, on the host."""
    part = array.part(0, (min(array.size, COMPARED),))
    host = np.empty(part.shape, part.dtype)
    gpu.download(host, part)
    return host


def torch_device(gpu) -> str:
    """Where PyTorch computes: on the same GPU, or on the CPU where the GPU is emulated.

    Raises
    ------
    ImportError
        If there is no PyTorch, or none that uses a GPU.
    """
    import torch

    if gpu.driver.name == "emulation":
        return "cpu"
    if not torch.cuda.is_available():
        raise ImportError(f"PyTorch {torch.__version__} does not use this GPU")
    torch.cuda.set_device(gpu.device.ordinal)
    return f"cuda:{gpu.device.ordinal}"


def tensor(gpu, array: DeviceArray):
    """The array as a tensor of PyTorch: the same memory, or a copy where the GPU is emulated."""
    import torch

    if torch_device(gpu) != "cpu":
        return torch.from_dlpack(array)
    host = np.empty(array.shape, array.dtype)
    gpu.download(host, array)
    return torch.from_numpy(host)


def tensor_head(tensor) -> np.ndarray:
    """The first elements of a tensor, on the host."""
    return tensor.detach().reshape(-1)[:COMPARED].cpu().numpy()


def check(what: str, ours: list[np.ndarray], theirs: list[np.ndarray], spared: float = 0.0) -> None:
    """Refuse to measure things that do not compute the same.

    Parameters
    ----------
    what : str
    ours, theirs : list of array
    spared : float, default 0
        This share of an array's elements, those that differ most, may differ by anything.

    Raises
    ------
    ArithmeticError
        If the difference's norm is more than `TOLERANCE` of the values', or not a number.
    """
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        a, b = a.astype(np.float64), b.astype(np.float64)
        squares = ((a - b) ** 2).ravel()
        count = int(spared * squares.size)
        if count and np.isfinite(squares).all():
            squares = np.partition(squares, -count)[:-count]
        difference = math.sqrt(squares.sum() / max((b**2).sum(), 1e-30))
        if not difference <= TOLERANCE:
            raise ArithmeticError(f"{what}: result {i} differs by {difference:.1e} of its norm")
