"""Whether this machine has an NVIDIA GPU and a driver that starts; needs Python alone.

`python3 tests/cuda/find_gpu.py` ends with 1 and says what is missing, before anything is installed.
"""

import ctypes
import sys


def problem() -> str | None:
    """Why no GPU can be used; None if one can."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver (libcuda.so.1 was not found)"
    if code := driver.cuInit(0):
        return f"NVIDIA's driver does not start (error {code})"
    count = ctypes.c_int()
    if code := driver.cuDeviceGetCount(ctypes.byref(count)):
        return f"NVIDIA's driver does not list its GPUs (error {code})"
    return None if count.value else "NVIDIA's driver finds no GPU"


if __name__ == "__main__":
    found = problem()
    if found:
        sys.exit(
            f"This needs an NVIDIA GPU, and {found}. `make test` runs all kernels without one."
        )
