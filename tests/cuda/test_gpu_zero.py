"""The diffs of all parameters are set to zero in one launch, wherever they are."""

import numpy as np
import pytest

import caffe_spn
from caffe_spn.blob import Blob
from caffe_spn.cuda import runtime
from caffe_spn.cuda.solver_update import CHUNK
from caffe_spn.gpu_zero import ZeroDiffs
from tests.cuda.arrays import up
from tests.cuda.emulation.driver import EmulatedDriver

# One element, a rest of a vector, several chunks, none.
SHAPES = ((1,), (7,), (2, CHUNK + 3), (0,), (64, 2))


@pytest.fixture
def blobs(gpu):
    return [Blob(shape) for shape in SHAPES]


def fill_on_device(blobs):
    gpu = runtime.runtime()
    for blob in blobs:
        gpu.copy(blob.new_gpu_diff, up(np.full(blob.shape, 5, np.float32)))


@pytest.mark.sanitized
def test_one_launch(gpu, blobs):
    zero = ZeroDiffs(blobs)
    fill_on_device(blobs)
    launches = gpu.launches
    zero.run()
    assert gpu.launches == launches + 1
    assert not any(blob.diff.any() for blob in blobs)


def test_the_table_is_copied_once(gpu, blobs):
    zero = ZeroDiffs(blobs)
    fill_on_device(blobs)
    zero.run()
    fill_on_device(blobs)
    copies = gpu.uploads, gpu.downloads
    zero.run()
    assert (gpu.uploads, gpu.downloads) == copies


def test_some_are_newest_on_the_host(gpu, blobs):
    zero = ZeroDiffs(blobs)
    fill_on_device(blobs)
    zero.run()
    for part in (blobs[:2], blobs[2:], blobs):
        fill_on_device(blobs)
        for blob in part:
            blob.diff[...] = 6
        copies = gpu.uploads, gpu.downloads
        zero.run()
        assert copies[1] == gpu.downloads
        assert not any(blob.diff.any() for blob in blobs)


def test_without_a_device_untouched_memory_stays_untouched():
    blob = Blob((3,))
    ZeroDiffs([blob]).run()
    assert blob.nbytes == 0
    blob.diff[...] = 5
    ZeroDiffs([blob]).run()
    assert not blob.diff.any()


def test_behind_the_elements_of_a_blob_nothing_is_cleared(gpu):
    blob = Blob((4,))
    fill_on_device([blob])
    blob.reshape(2)
    ZeroDiffs([blob]).run()
    blob.reshape(4)
    assert blob.diff.tolist() == [0, 0, 5, 5]


def test_memory_that_moved(gpu, blobs):
    zero = ZeroDiffs(blobs)
    fill_on_device(blobs)
    zero.run()
    blobs[0].reshape(100)
    fill_on_device(blobs)
    zero.run()
    assert not any(blob.diff.any() for blob in blobs)


def test_without_room_for_the_table(gpu, blobs, emulated_only):
    zero = ZeroDiffs(blobs)
    fill_on_device(blobs)
    memory = gpu.driver.memory
    total, memory.total = memory.total, 0
    held = gpu.memory.in_use
    launches = gpu.launches
    zero.run()
    assert gpu.launches == launches and gpu.memory.in_use == held, "one by one"
    memory.total = total
    assert not any(blob.diff.any() for blob in blobs)
    fill_on_device(blobs)
    zero.run()
    assert gpu.launches == launches + 1


def test_another_device(gpu, blobs, emulated_only):
    zero = ZeroDiffs(blobs)
    fill_on_device(blobs)
    zero.run()
    before = runtime.install(EmulatedDriver())
    try:
        others = [Blob(shape) for shape in SHAPES]
        zero._blobs = others
        fill_on_device(others)
        zero.run()
        assert not any(blob.diff.any() for blob in others)
    finally:
        runtime.restore(before)


def test_in_a_net(gpu, tmp_path):
    caffe_spn.set_mode_gpu()
    (tmp_path / "net.prototxt").write_text(
        """
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "a" type: "InnerProduct" bottom: "x" top: "a"
                inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
        layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" loss_weight: 1
                inner_product_param { num_output: 1 weight_filler { type: "xavier" } } }
        """
    )
    net = caffe_spn.Net(str(tmp_path / "net.prototxt"), caffe_spn.TRAIN)
    net.blobs["x"].data[...] = 1
    net.forward()
    net.backward()
    net.clear_param_diffs()
    net.backward()
    launches = gpu.launches
    net.clear_param_diffs()
    assert gpu.launches == launches + 1
    assert not any(blob.diff.any() for blob in net.learnable_params)
