"""What is said where PyCUDA cannot be imported."""

import pytest

from caffe_spn.cuda.device import pycuda_import
from caffe_spn.errors import DeviceError


def imports_fail(monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(pycuda_import, "_import", fail)
    with pytest.raises(DeviceError) as caught:
        pycuda_import.import_driver()
    return str(caught.value)


@pytest.mark.parametrize(
    "error, says, remedy",
    [
        (
            ModuleNotFoundError("No module named 'pycuda'", name="pycuda"),
            "PyCUDA is not installed",
            "pip install 'caffe_spn[gpu]'",
        ),
        (
            ImportError("libcuda.so.1: cannot open shared object file"),
            "there is no NVIDIA driver (libcuda.so.1: cannot open",
            "install NVIDIA's driver",
        ),
        (
            ImportError("undefined symbol: cuCtxCreate_v4"),
            "PyCUDA was built for a newer driver",
            "update NVIDIA's driver",
        ),
        (
            ModuleNotFoundError("No module named 'pytools'", name="pytools"),
            "PyCUDA is installed, but cannot be imported (No module named 'pytools')",
            "docs/gpu.md",
        ),
    ],
)
def test_what_is_missing(monkeypatch, error, says, remedy):
    message = imports_fail(monkeypatch, error)
    assert says in message
    assert remedy in message
