"""Runs programs on the stand-in for libcuda.so.1, which must be there when Python starts."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.cuda.emulation.build import compiler
from tests.cuda.fake_driver import NOTHING_LEFT, build_driver

PRELUDE = """
import os, sys, threading
import numpy as np
from caffe_spn.cuda import runtime
from caffe_spn.cuda.device.driver import DeviceLost, OutOfDeviceMemory
from caffe_spn.errors import DeviceError
from tests.cuda.fake_driver import use_emulated_kernels

use_emulated_kernels()

def refused(call, kind=DeviceError):
    try:
        call()
    except kind as error:
        print(error)
    else:
        print("nothing was raised")

def twice(gpu, values):
    array = gpu.array(values.shape)
    gpu.upload(array, values)
    gpu.launch("kernels.cu", "scale", 2, 32, array, np.uint8(1), np.float64(2), values.size)
    result = np.empty_like(values)
    gpu.download(result, array)
    return result

values = np.arange(100, dtype=np.float32)
"""

CLOSE = """
runtime.close_device()
"""


@pytest.fixture(scope="session")
def driver_folder(tmp_path_factory):
    if importlib.util.find_spec("pycuda") is None:
        pytest.skip("PyCUDA is not installed")
    if compiler() is None:
        pytest.skip("there is no g++ to compile the stand-in with")
    folder = tmp_path_factory.mktemp("libcuda")
    build_driver(folder)
    return folder


@pytest.fixture
def run(driver_folder, tmp_path):
    """Run a program and close the device; returns what it printed.

    `left` is what the stand-in must report of things that were not given back; with None the device
    is not closed, and the stand-in not asked.
    """

    def run(program, left=NOTHING_LEFT, stderr="", code=0, **settings):
        report = tmp_path / "report"
        environment = {f"FAKE_CUDA_{name.upper()}": str(value) for name, value in settings.items()}
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + program + ("" if left is None else CLOSE)],
            env={
                **os.environ,
                "LD_LIBRARY_PATH": str(driver_folder),
                "FAKE_CUDA_REPORT": str(report),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == code, done.stderr
        if stderr is not None:
            assert done.stderr == stderr
        if left is not None:
            assert report.read_text() == left
        return done.stdout

    return run
