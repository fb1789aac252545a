"""What the data layers share: batch k of a source, prefetched, with a cursor that can be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from caffe_spn import nccl, random
from caffe_spn.data.prefetch import Batch, Prefetcher
from caffe_spn.errors import DataError
from caffe_spn.layer import Layer
from caffe_spn.proto import caffe_pb2

if TYPE_CHECKING:
    from caffe_spn.cuda.device.feed import Feed


class BatchLayer(Layer):
    """A layer without bottoms whose tops are the batches of a source, one after the other.

    A subclass calls `start` at the end of its `setup`.

    Notes
    -----
    On a GPU the next batch is uploaded while the device computes with this one; see
    `caffe_spn.cuda.device.feed`.
    """

    _batches: Prefetcher | None = None
    # The batch that comes next, where there is no prefetcher to ask.
    _next_batch = 0
    # A batch that was taken from the prefetcher before its turn, and what uploads it.
    _ahead: Batch | None = None
    _feed: Feed | None = None

    def start(self, make_produce: Callable[[int], Callable[[int], Batch]], prefetch: int, seed=0):
        """Say where batches come from.

        Parameters
        ----------
        make_produce : callable
            Given a seed, returns the function that makes batch k. Neither may refer to the layer.
        prefetch : int
            How many batches a background thread prepares; 0 for no thread.
        seed : int, default 0
            0 draws one from the package's generator.
        """
        train = self.phase == caffe_pb2.TRAIN
        self._make_produce = _own_share(make_produce) if train else make_produce
        self._prefetch = prefetch
        self._seed = int(seed) or random.spawn_seed()
        self._batches = self._prefetcher()

    def refuse_old_fields(
        self, field: str, names=("scale", "mean_file", "crop_size", "mirror")
    ) -> None:
        """Refuse what transform_param says today; in an old definition the upgrade has moved it.

        Raises
        ------
        PrototxtError
            If the message `field` has one of the `names`.
        """
        for name in names:
            if getattr(self.layer_param, field).HasField(name):
                raise self.param_error(
                    f"{field} has {name}, which Caffe ignores in a current definition",
                    help=f"write transform_param {{ {name}: ... }}, or take it out",
                )

    def forward_cpu(self, bottom, top) -> None:
        for blob, values in zip(top, self._take(), strict=False):
            blob.reshape(*values.shape)
            blob.data[...] = values

    def forward_gpu(self, bottom, top) -> None:
        from caffe_spn.cuda.device.feed import Feed
        from caffe_spn.cuda.runtime import runtime

        if self._feed is None or self._feed.gpu is not runtime():
            self._feed = Feed(runtime(), len(top), self.dtype)
        feed, sent = self._feed, self._ahead is not None and self._feed.under_way
        batch = self._take()
        if not (sent or feed.send(batch)):
            self._ahead = batch
            self.forward_cpu(bottom, top)
            return
        for blob, values in zip(top, batch, strict=False):
            blob.reshape(*values.shape)
        feed.receive([blob.new_gpu_data for blob in top])

    def look_ahead(self) -> None:
        """Start to upload the next batch, if the thread has it, while the device computes."""
        if self._feed is not None and self._ahead is None and self._runs_on_gpu:
            self._ahead = self._batches.get_if_ready()
            if self._ahead is not None:
                self._feed.send(self._ahead)

    def _take(self) -> Batch:
        """The next batch."""
        batch, self._ahead = self._ahead, None
        if self._feed is not None:
            self._feed.under_way = False
        if batch is not None:
            return batch
        if self._batches is None:
            self._batches = self._prefetcher()
        return self._batches.get()

    def backward_cpu(self, top, propagate_down, bottom) -> None:
        """Data has no bottoms, so there is nothing to do."""

    def state(self) -> dict:
        """What to keep so that a later run goes on with the batch that would come next."""
        return {"seed": self._seed, "next_batch": self._position()}

    def _position(self) -> int:
        batches = self._batches
        if batches is None:
            return self._next_batch
        return batches.next_batch - (self._ahead is not None)

    def restore_state(self, state: dict) -> None:
        """Go on where `state` was taken."""
        try:
            seed, next_batch = int(state["seed"]), int(state["next_batch"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"cannot go on from {state!r}; a data layer's state has seed and next_batch",
                where=self.where,
            ) from error
        self.close()
        self._seed, self._next_batch = seed, next_batch

    def close(self) -> None:
        """End the background thread; the next forward starts it again where it was."""
        if self._feed is not None:
            self._feed.drop()
        if self._batches is not None:
            self._batches.close()
            self._next_batch, self._ahead = self._position(), None
            # With the function that made the batches goes what it had open, such as a database. A
            # new one is made when it is wanted: this may be the end of the interpreter.
            self._batches = None

    def _prefetcher(self) -> Prefetcher:
        return Prefetcher(self._make_produce(self._seed), self._prefetch, self._next_batch)


def _own_share(make_produce: Callable) -> Callable:
    """The batches of this process's solver, where several train together: every N-th one."""
    count, rank = nccl.solver_count(), nccl.solver_rank()
    if count == 1:
        return make_produce

    def make_own(seed: int) -> Callable[[int], Batch]:
        produce = make_produce(seed)
        return lambda index: produce(index * count + rank)

    return make_own
