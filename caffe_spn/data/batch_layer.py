"""What the data layers share: batch k of a source, prefetched, with a cursor that can be kept."""

from __future__ import annotations

from collections.abc import Callable

from caffe_spn import nccl, random
from caffe_spn.data.prefetch import Batch, Prefetcher
from caffe_spn.errors import DataError
from caffe_spn.layer import Layer
from caffe_spn.proto import caffe_pb2


class BatchLayer(Layer):
    """A layer without bottoms whose tops are the batches of a source, one after the other.

    A subclass calls `start` at the end of its `setup`.
    """

    _batches: Prefetcher | None = None
    # The batch that comes next, where there is no prefetcher to ask.
    _next_batch = 0

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
        if self._batches is None:
            self._batches = self._prefetcher()
        for blob, values in zip(top, self._batches.get(), strict=False):
            blob.reshape(*values.shape)
            blob.data[...] = values

    def backward_cpu(self, top, propagate_down, bottom) -> None:
        """Data has no bottoms, so there is nothing to do."""

    def state(self) -> dict:
        """What to keep so that a later run goes on with the batch that would come next."""
        batches = self._batches
        next_batch = self._next_batch if batches is None else batches.next_batch
        return {"seed": self._seed, "next_batch": next_batch}

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
        if self._batches is not None:
            self._batches.close()
            self._next_batch = self._batches.next_batch
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
