"""The fixture `gpu`: a GPU that is emulated on the CPU, or a real one with ``--gpu``."""

import ctypes

import pytest

import caffe_spn
from caffe_spn.cuda import runtime
from tests.cuda import find_gpu
from tests.cuda.emulation import blas
from tests.cuda.emulation.build import compiler
from tests.cuda.emulation.driver import ORDERS, EmulatedDriver
from tests.cuda.emulation.strict import make_strict


def pytest_collection_modifyitems(config, items):
    """With ``--gpu`` only tests that use the GPU are run: the others need none, and run anyway."""
    if config.getoption("--gpu"):
        chosen, others = [], []
        for item in items:
            names = item.fixturenames
            wanted = "gpu" in names and "emulated_only" not in names
            (chosen if wanted else others).append(item)
        config.hook.pytest_deselected(items=others)
        items[:] = chosen


@pytest.fixture(scope="session")
def primary_context(request):
    """Keeps the real GPU's context between tests; making it takes longer than most of them."""
    if not request.config.getoption("--gpu") or find_gpu.problem():
        yield
        return
    driver, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
    driver.cuInit(0)
    code = driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
    yield
    if code == 0:
        driver.cuDevicePrimaryCtxRelease_v2(0)


@pytest.fixture
def gpu(request, primary_context):
    """The opened Runtime; afterwards the CPU computes again.

    ``gpu.driver`` is the driver. The emulated one can be given another order of threads and blocks,
    and less memory.
    """
    if request.config.getoption("--gpu"):
        from caffe_spn.cuda.device.pycuda_driver import PyCudaDriver

        driver = PyCudaDriver()
    elif compiler() is None:
        pytest.skip("there is no g++ to compile the kernels for the CPU with")
    else:
        driver = EmulatedDriver()
    before = runtime.install(driver)
    try:
        if isinstance(driver, EmulatedDriver):
            make_strict(runtime.runtime())
            # NumPy multiplies and convolves, in the place of NVIDIA's libraries.
            blas.install(runtime.runtime())
        yield runtime.runtime()
    finally:
        caffe_spn.set_mode_cpu()
        runtime.restore(before)


@pytest.fixture(params=ORDERS)
def gpu_in_order(gpu, request):
    """The same, once for each order of threads and of blocks: results must not depend on it."""
    if isinstance(gpu.driver, EmulatedDriver):
        gpu.driver.thread_order = gpu.driver.block_order = request.param
    elif request.param != "forward":
        pytest.skip("a real GPU chooses its own order")
    return gpu


@pytest.fixture
def emulated_only(request):
    """For tests of the emulation itself."""
    if request.config.getoption("--gpu"):
        pytest.skip("it is about the emulated GPU")
