"""Run one layer on the CPU and on the GPU and compare everything that it writes."""

import numpy as np

import caffe_spn as caffe
from tests import golden_cases
from tests.cuda.emulation.driver import ORDERS, EmulatedDriver
from tests.layers.running import Run


def run(gpu, definition, *bottoms, top_diffs=None, **options):
    """The layer's tops and bottom diffs, from a Run in GPU mode that launched kernels.

    Parameters
    ----------
    gpu : Runtime
    definition, *bottoms, **options
        As for `Run`.
    top_diffs : sequence of array, optional
        Runs backward with these, too.

    Returns
    -------
    tops, diffs : list of array
        `diffs` are those of the bottoms that can have one.
    run : Run
    """
    caffe.set_mode_gpu()
    try:
        launches, downloads = gpu.launches, gpu.downloads
        made = Run(definition, *bottoms, **options)
        assert gpu.launches > launches or not made.bottom[0].count, "computed on the host"
        assert gpu.downloads == downloads, "forward on the GPU read from the device"
        tops = [top.data.copy() for top in made.top]
        return tops, [] if top_diffs is None else backward(gpu, made, top_diffs), made
    finally:
        caffe.set_mode_cpu()


def backward(gpu, made, top_diffs):
    """The diffs of the bottoms."""
    for blob, diff in zip(made.top, top_diffs, strict=True):
        blob.diff[...] = diff
    propagate = [made.layer.allow_force_backward(i) for i in range(len(made.bottom))]
    downloads = gpu.downloads
    made.layer.backward(made.top, propagate, made.bottom)
    assert gpu.downloads == downloads, "backward on the GPU read from the device"
    return [b.diff.copy() for b, wanted in zip(made.bottom, propagate, strict=True) if wanted]


def compare(
    gpu, definition, *bottoms, rtol=1e-5, atol=1e-6, gradient=True, seed=1, params=(), **options
):
    """Assert that tops, bottom diffs and parameters are those of the CPU.

    Where one is infinite or NaN, the other must be the same.
    """
    cpu = Run(definition, *bottoms, params=params, **options)
    rng = np.random.default_rng(seed)
    top_diffs = [rng.standard_normal(top.shape).astype(np.float32) for top in cpu.top]
    want = [top.data.copy() for top in cpu.top]
    if gradient:
        propagate = [cpu.layer.allow_force_backward(i) for i in range(len(cpu.bottom))]
        diffs = cpu.backward(*top_diffs)
        want += [d.copy() for d, wanted in zip(diffs, propagate, strict=True) if wanted]
    want += [blob.data for blob in cpu.layer.blobs]
    tops, diffs, made = run(
        gpu,
        definition,
        *bottoms,
        top_diffs=top_diffs if gradient else None,
        params=params,
        **options,
    )
    got = tops + diffs + [blob.data for blob in made.layer.blobs]
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        np.testing.assert_allclose(a, b, rtol, atol, err_msg=f"array {i}: tops, then diffs")
    return made


def equal_in_bits(gpu, definition, *bottoms, top_diffs=None, **options):
    """Assert that the order of threads and blocks changes no bit of tops and bottom diffs."""
    results = []
    for order in ORDERS:
        if isinstance(gpu.driver, EmulatedDriver):
            gpu.driver.thread_order = gpu.driver.block_order = order
        tops, diffs, _ = run(gpu, definition, *bottoms, top_diffs=top_diffs, **options)
        results.append([array.tobytes() for array in tops + diffs])
    assert all(result == results[0] for result in results)


def run_golden(gpu, case, folder):
    """Run a case recorded from Caffe in GPU mode."""
    caffe.set_mode_gpu()
    launches = gpu.launches
    golden_cases.run_net(case, folder)
    assert gpu.launches > launches, "computed on the host"
