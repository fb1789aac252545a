"""What commands change in a process, put back after each test that calls them in this one."""

import sys

import pytest

from caffe_spn.training_log import logger


@pytest.fixture(autouse=True)
def restore_process():
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    modules = {name for name in sys.modules if name.split(".")[0] == "caffe"}
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
    logger.propagate = propagate
    for name in [name for name in sys.modules if name.split(".")[0] == "caffe"]:
        if name not in modules:
            del sys.modules[name]
