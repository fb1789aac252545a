"""Faults that only the device sees: who is asked for them, and when."""

import gc

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.blob import Blob
from caffe_spn.cuda import faults, runtime
from caffe_spn.errors import DataError
from tests.cuda.emulation.driver import EmulatedDriver
from tests.layers.running import Run, normal

WRONG = ('type: "SoftmaxWithLoss"', normal(3, 2), np.array([0, 1, 2]))


class Watched:
    def __init__(self):
        self.asked = 0

    def raise_device_fault(self):
        self.asked += 1


def computed():
    """A blob whose values are newer on the device."""
    blob = Blob((2,))
    runtime.runtime().zero(blob.new_gpu_data)
    return blob


def test_asked_once_where_the_host_reads(gpu):
    watched, blob = Watched(), computed()
    faults.watch(watched)
    assert watched.asked == 0
    assert (blob.data == 0).all()
    assert watched.asked == 1
    assert (computed().data == 0).all()
    assert watched.asked == 1


def test_asked_where_the_host_only_looks(gpu):
    watched = Watched()
    faults.watch(watched)
    assert (computed().cpu_data == 0).all()
    assert watched.asked == 1


def test_not_asked_without_a_read(gpu):
    watched, blob = Watched(), Blob((2,))
    blob.data[...] = 1
    faults.watch(watched)
    assert blob.gpu_data.size == 2
    assert (blob.data == 1).all()
    assert watched.asked == 0
    faults.raise_found()


def test_all_are_asked_where_a_loss_is_nan(gpu):
    # A recorded pass that is repeated calls no layer, and so watches none.
    watched = [Watched(), Watched()]
    for each in watched:
        faults.watch(each)
    faults.raise_found()
    faults.watch(watched[1])
    faults.raise_found(everywhere=True)
    assert [each.asked for each in watched] == [2, 2]


def test_a_fault_is_said_once(gpu):
    caffe.set_mode_gpu()
    run = Run(*WRONG)
    with pytest.raises(DataError):
        run.out.item()
    faults.raise_found(everywhere=True)
    run.forward()
    with pytest.raises(DataError):
        faults.raise_found(everywhere=True)


def test_what_is_gone_is_not_asked(gpu):
    watched = Watched()
    asked = []
    watched.raise_device_fault = lambda: asked.append(1)
    faults.watch(watched)
    del watched
    gc.collect()
    assert (computed().data == 0).all()
    assert not asked


@pytest.mark.usefixtures("emulated_only", "gpu")
def test_a_closed_device_is_not_asked():
    before = runtime.install(EmulatedDriver())
    watched = Watched()
    faults.watch(watched)
    runtime.restore(before)
    assert (computed().data == 0).all()
    assert watched.asked == 0


@pytest.mark.usefixtures("emulated_only", "gpu")
def test_closing_the_device_raises_nothing():
    before = runtime.install(EmulatedDriver())
    caffe.set_mode_gpu()
    run = Run(*WRONG)
    caffe.set_mode_cpu()
    runtime.restore(before)
    # The loss was brought to the host, and says what the fault left.
    assert np.isnan(run.out)
