"""The state that a recurrent layer carries from one batch to the next."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from caffe_spn.blob import Blob


class CarriedState:
    """One blob (1, N, H) for each state, zero at first.

    They are blobs because a change of N then keeps what it keeps in Caffe: with fewer streams the
    first states stay, more streams than ever before begin at zero.

    Parameters
    ----------
    names : sequence of str
    size : int
        H, the number of values in the state of one stream.
    dtype : numpy dtype
    """

    def __init__(self, names: Sequence[str], size: int, dtype):
        self.names, self.size = tuple(names), size
        self.blobs = [Blob((0,), dtype) for _ in names]

    def reshape(self, streams: int) -> None:
        """Hold the states of so many streams."""
        for blob in self.blobs:
            blob.reshape(1, streams, self.size)

    def reset(self) -> None:
        """Set all states to zero."""
        for blob in self.blobs:
            blob.data.fill(0)

    def to_json(self) -> dict[str, str]:
        """The values to the last bit, for JSON: name to base64 of little-endian numbers."""
        return {
            name: base64.b64encode(blob.data.astype(self._type).tobytes()).decode("ascii")
            for name, blob in zip(self.names, self.blobs, strict=True)
        }

    def from_json(self, state: dict[str, str]) -> None:
        """Take what `to_json` gave, for as many streams as there were.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is something else; nothing is changed then.
        """
        values = [
            np.frombuffer(base64.b64decode(state[name]), self._type).reshape(1, -1, self.size)
            for name in self.names
        ]
        for blob, value in zip(self.blobs, values, strict=True):
            blob.reshape(*value.shape)
            blob.data[...] = value

    @property
    def _type(self) -> np.dtype:
        return self.blobs[0].dtype.newbyteorder("<")
