"""A net's passes on a GPU as CUDA graphs: observed, captured, launched while nothing has changed.

A pass that enqueues the same several times, with the same arguments, is captured. From then on one
launch takes the place of all layers, as long as everything is where it was: shapes, memory, work
space, what runs backward. If anything is not, the graph is dropped and the layers run again.

Values may change: what the host has written since is copied up before the launch, because each
access to a blob's memory is repeated.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import is_
from typing import TYPE_CHECKING

from caffe_spn import synced_memory
from caffe_spn.blob import Blob
from caffe_spn.gpu_layer import GpuLayer
from caffe_spn.training_log import logger

if TYPE_CHECKING:
    from caffe_spn.cuda.device.graphs import Graph, Record

# So many passes must have been equal before one is captured, and more after each graph that had to
# be dropped: a net whose input always has another size is soon left alone.
FIRST_PATIENCE, MOST_PATIENCE = 2, 256
_one_capture = threading.Lock()


class GraphedPass:
    """The forward or the backward pass of a net.

    Parameters
    ----------
    method : str
        "forward_gpu" or "backward_gpu": what its layers must have of their own.

    Attributes
    ----------
    refusal : str or None
        Why this pass is no graph, and will be none.
    """

    def __init__(self, method: str):
        self.refusal: str | None = None
        self._method = method
        self._patience = FIRST_PATIENCE
        self.forget()

    def forget(self) -> None:
        """Drop the graph, and what it keeps."""
        self._graph: Graph | None = None
        self._record: Record | None = None
        self._circumstances: Circumstances | None = None
        self._equal = 0

    def run(self, net, enqueue: Callable[[bool], None]) -> bool:
        """Do what `enqueue` does: it runs those layers of `net` that compute on the device.

        Parameters
        ----------
        net : Net
        enqueue : callable
            Takes whether a graph is being captured.

        Returns
        -------
        bool
            Whether a graph was launched.
        """
        from caffe_spn.cuda.device.graphs import cuda_graphs
        from caffe_spn.cuda.runtime import runtime

        gpu = runtime()
        if self.refusal is not None or gpu.watcher is not None or not cuda_graphs():
            self.forget()
            enqueue(False)
            return False
        if self._circumstances is not None:
            # Both a graph and a pass that will be captured are for these only.
            if not self._circumstances.hold(gpu, net):
                self._lose_patience()
            elif self._graph is not None or self._capture(gpu, net, enqueue):
                self._launch(gpu)
                return True
        self._observe(gpu, net, enqueue)
        return False

    def _lose_patience(self) -> None:
        self.forget()
        self._patience = min(2 * self._patience, MOST_PATIENCE)

    def _refuse(self, net, reason: str) -> None:
        self.forget()
        self.refusal = reason
        logger.info("no CUDA graph of %s (%s): %s", net.name, self._method, reason)

    def _observe(self, gpu, net, enqueue) -> None:
        from caffe_spn.cuda.device.graphs import NotCaptured, Record, observed

        with observed(gpu, Record()) as record:
            enqueue(False)
        same = self._record is not None and record.same(self._record)
        self._record, self._equal = record, self._equal + 1 if same else 0
        if self._equal >= self._patience and self.refusal is None:
            try:
                self._check_layers(net)
                self._circumstances = Circumstances(gpu, net, record)
            except NotCaptured as error:
                self._refuse(net, str(error))

    def _capture(self, gpu, net, enqueue) -> bool:
        """Whether there is a graph now."""
        from caffe_spn.cuda.device.graphs import NotCaptured, capture

        # So that nothing has to be copied up meanwhile.
        _repeat(self._record)
        try:
            with _no_reading_on_the_host(gpu, net):
                graph = capture(gpu, lambda: enqueue(True))
            circumstances = Circumstances(gpu, net, graph.record)
        except NotCaptured as error:
            self._refuse(net, str(error))
            return False
        if not graph.record.same(self._record):
            self._lose_patience()
            return False
        self._graph, self._circumstances, self._record = graph, circumstances, None
        return True

    def _launch(self, gpu) -> None:
        from caffe_spn.cuda.faults import watch

        record = self._graph.record
        _repeat(record)
        self._graph.launch()
        gpu.launches += self._graph.launches
        for layer in record.watched:
            watch(layer)

    def _check_layers(self, net) -> None:
        from caffe_spn.cuda.device.graphs import NotCaptured

        forward = self._method == "forward_gpu"
        for i, layer in enumerate(net.layers):
            if not (net.bottom_vecs[i] if forward else net.layer_need_backward[i]):
                continue
            kind = type(layer)
            on_host = getattr(kind, self._method) is getattr(GpuLayer, self._method)
            on_host = on_host or not layer._runs_on_gpu
            # What another's layer does besides enqueueing would not be repeated.
            if on_host or not kind.__module__.startswith("caffe_spn.layers."):
                raise NotCaptured(f"{layer.where} runs in between")


class Circumstances:
    """Where everything is that a pass uses, and what it depends on besides values.

    Parameters
    ----------
    gpu : Runtime
    net : Net
    record : Record
        Of the pass.

    Raises
    ------
    NotCaptured
        If it uses memory of which nobody would say that it has moved.
    """

    def __init__(self, gpu, net, record: Record):
        from caffe_spn.cuda.device.graphs import NotCaptured

        self._gpu = gpu
        self._scratch = record.scratch if gpu.current_scratch is not None else None
        self._things, self._facts = _things(net), _facts(net)
        memories = dict.fromkeys(memory for memory, _, _ in record.accesses)
        self._arrays = [(memory, memory.device_as_it_is) for memory in memories]
        self._others = []
        for memory in memories.keys() - set(self._things):
            owner = next(_owners(net, memory), None)
            if owner is None:
                raise NotCaptured("a layer has blobs of which the net does not know")
            self._others.append(owner)
        if any(record.writes.get(blob.data_memory, 0) > 1 for blob in _losses(net)):
            raise NotCaptured("a loss is changed by another layer")

    def hold(self, gpu, net) -> bool:
        """Whether all is as it was."""
        things = _things(net)
        return (
            gpu is self._gpu
            and (self._scratch is None or gpu.current_scratch is self._scratch)
            and len(things) == len(self._things)
            and all(map(is_, things, self._things))
            and all(memory.device_as_it_is is array for memory, array in self._arrays)
            and all(layer.__dict__.get(name) is blob for layer, name, blob in self._others)
            and _facts(net) == self._facts
        )


@contextmanager
def _no_reading_on_the_host(gpu, net) -> Iterator[None]:
    """What a layer reads on the host now, a graph would never read again."""
    for blob in _blobs(net):
        # Or it could be read without asking the memory.
        blob._forget_views()

    def refuse() -> None:
        if gpu.watcher is not None:
            gpu.watcher.refuse("reading on the host")

    with _one_capture:
        synced_memory.before_host_read = refuse
        try:
            yield
        finally:
            synced_memory.before_host_read = None


def _repeat(record: Record) -> None:
    """Do to all memory what the pass does to it, up to the computation itself."""
    for memory, how, count in record.accesses:
        memory.again(how, count)


def _things(net) -> list:
    """What must be the very same objects: memory of blobs and work space of layers."""
    things = []
    for blob in _blobs(net):
        things += (blob.data_memory, blob.diff_memory)
    for layer in net.layers:
        things += (array for _, array in layer._gpu_workspaces.values())
    return things


def _blobs(net) -> Iterator[Blob]:
    yield from net._blobs
    for layer in net.layers:
        yield from layer.blobs


def _facts(net) -> tuple:
    """What must be equal: shapes, what runs backward and where, and how products are computed."""
    from caffe_spn.cuda.nvidia.libraries import tf32

    return (
        tf32(),
        [blob.shape for blob in net._blobs],
        [list(needed) for needed in net.bottom_need_backward],
        list(net.layer_need_backward),
        [list(layer.param_propagate_down) for layer in net.layers],
        # After a forward pass on the CPU what backward needs is there.
        [layer._forward_on_gpu for layer in net.layers],
    )


def _owners(net, memory):
    """Which layer has a blob of its own with this memory, and under which name."""
    for layer in net.layers:
        for name, value in vars(layer).items():
            if isinstance(value, Blob) and value.data_memory is memory:
                yield layer, name, value


def _losses(net):
    for layer, tops in zip(net.layers, net.top_vecs, strict=True):
        for blob, weight in zip(tops, layer.loss_weights, strict=False):
            if weight:
                yield blob
