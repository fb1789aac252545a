"""What all tests share."""

import logging
import signal

import pytest

# A shell that starts the tests in the background lets them ignore Ctrl-C, and processes that they
# start inherit that. The tests send SIGINT themselves and need it to arrive.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption(
        "--gpu", action="store_true", help="run tests/cuda on a GPU instead of the emulated one"
    )


@pytest.fixture(autouse=True)
def log_as_it_was():
    """A command that a test runs in this process shows the log; other tests find it as it was."""
    logger = logging.getLogger("caffe_spn")
    before = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])
