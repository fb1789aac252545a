"""A segmentation set of two images, for networks that read data."""

import pytest

from tests.tiny_set import write_tiny_set


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory):
    """The set's folder."""
    return write_tiny_set(tmp_path_factory.mktemp("tiny_set"))
