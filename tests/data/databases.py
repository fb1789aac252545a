"""Small databases that tests write."""

import numpy as np
import pytest

from caffe_spn.data.db import DatabaseWriter
from caffe_spn.io import array_to_datum

PACKAGES = {"lmdb": "lmdb", "leveldb": "plyvel"}
BACKENDS = tuple(PACKAGES)


def need(backend):
    """Skip the test where the package behind a backend is missing."""
    pytest.importorskip(PACKAGES[backend])


def write(path, records, backend="lmdb"):
    """Write pairs of key and value; returns the path."""
    need(backend)
    with DatabaseWriter(path, backend) as db:
        for key, value in records:
            db.put(key, value)
    return path


def images(count=5, shape=(3, 6, 8), seed=0):
    """Random images, uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def write_images(path, arrays, backend="lmdb"):
    """Write image n with label n under the key ``%08d_n``."""
    records = (
        (b"%08d_%d" % (n, n), array_to_datum(a, n).SerializeToString())
        for n, a in enumerate(arrays)
    )
    return write(path, records, backend)
