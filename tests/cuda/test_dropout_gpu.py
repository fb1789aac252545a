"""Dropout on a GPU: what is drawn, and that it can be repeated."""

import json

import numpy as np
import pytest

import caffe_spn
from caffe_spn.cuda import dropout as kernels
from caffe_spn.cuda.draws import next_pass
from tests import golden_cases
from tests.cuda import both_devices
from tests.layers.running import TEST, Run, normal


def definition(ratio):
    return f'type: "Dropout" dropout_param {{ dropout_ratio: {ratio} }}'


def philox(counter, key):
    """Philox 4x32-10 as its paper states it, on lists of 32-bit words."""
    low = 0xFFFFFFFF
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [b >> 32 ^ counter[1] ^ key[0], b & low, a >> 32 ^ counter[3] ^ key[1], a & low]
        key = [key[0] + 0x9E3779B9 & low, key[1] + 0xBB67AE85 & low]
    return counter


def test_philox_against_the_authors_vectors():
    assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox([2**32 - 1] * 4, [2**32 - 1] * 2) == [
        *(0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    ]


@pytest.mark.sanitized
@pytest.mark.parametrize("start", [0, 1])
def test_elements_are_kept_as_philox_says(start, gpu):
    seed, passes, ratio, count = 0x0123456789ABCDEF, 0xFEDCBA9876543210, 0.3, 23
    draws, x = gpu.array((2,), np.uint64), gpu.array((count + 1,)).part(start, (count,))
    gpu.upload(draws, np.array([seed, passes], np.uint64))
    gpu.upload(x, np.ones(count, np.float32))
    next_pass(draws)
    kernels.dropout(x, x, draws, ratio)
    got = np.empty(count, np.float32)
    gpu.download(got, x)
    words = []
    for i in range(-(-count // 4)):
        halves = [v >> shift & 0xFFFFFFFF for v in (i, passes + 1, seed) for shift in (0, 32)]
        words += philox(halves[:4], halves[4:])
    kept = np.array(words[:count]) >= ratio * 2**32
    np.testing.assert_allclose(got, kept / (1 - ratio), rtol=1e-6)


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("in_place", [False, True])
def test_training_keeps_a_share_and_scales_it(ratio, in_place, gpu):
    caffe_spn.set_random_seed(1)
    caffe_spn.set_mode_gpu()
    x = 1 + np.abs(normal(50, 201))
    run = Run(definition(ratio), x, in_place=in_place)
    kept = run.out != 0
    assert kept.mean() == pytest.approx(1 - ratio, abs=0.015)
    np.testing.assert_allclose(run.out[kept], x[kept] / (1 - ratio), 1e-5)
    top_diff = normal(50, 201, seed=1)
    wanted = np.where(kept, top_diff / (1 - ratio), 0)
    np.testing.assert_allclose(run.backward(top_diff)[0], wanted, 1e-5)


def test_each_pass_draws_anew_and_a_seed_repeats_all(gpu):
    caffe_spn.set_mode_gpu()
    outputs = []
    for _ in range(2):
        caffe_spn.set_random_seed(3)
        run = Run(definition(0.5), np.ones((8, 8)))
        first = run.out.copy()
        run.forward()
        outputs.append((first, run.out.copy()))
    assert (outputs[0][0] != outputs[0][1]).any()
    np.testing.assert_array_equal(outputs[0], outputs[1])


@pytest.mark.parametrize("passes", [0, 2])
def test_restored_state_goes_on_with_the_same_numbers(passes, gpu):
    run = Run(definition(0.5), np.ones((8, 8)))  # which draws on the CPU, too
    caffe_spn.set_mode_gpu()
    for _ in range(passes):
        run.forward()
    state = json.loads(json.dumps(run.layer.state()))
    run.forward()
    wanted = run.out.copy()
    other = Run(definition(0.5), np.ones((8, 8)))
    other.layer.restore_state(state)
    other.forward()
    np.testing.assert_array_equal(other.out, wanted)


@pytest.mark.parametrize("in_place", [False, True])
def test_testing_passes_all(in_place, gpu):
    caffe_spn.set_mode_gpu()
    x, top_diff = normal(3, 4), normal(3, 4, seed=1)
    run = Run(definition(0.5), x, phase=TEST, in_place=in_place)
    np.testing.assert_array_equal(run.out, x)
    np.testing.assert_array_equal(run.backward(top_diff)[0], top_diff)


def test_nan_is_not_switched_off(gpu):
    tops, _, _ = both_devices.run(gpu, definition(0.9), np.full(20, np.nan))
    assert np.isnan(tops[0]).all()


def test_ratio_is_checked(gpu):
    caffe_spn.set_mode_gpu()
    with pytest.raises(caffe_spn.errors.PrototxtError, match="must be at least 0 and less than 1"):
        Run(definition(1), normal(2))


def test_draws_are_two_numbers(gpu):
    with pytest.raises(caffe_spn.errors.ShapeError, match=r"draws is \(3,\) \(uint64\)"):
        next_pass(gpu.array((3,), np.uint64))


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Dropout",)), ids=golden_cases.case_id
)
def test_as_recorded_from_caffe(case, tmp_path, gpu):
    caffe_spn.set_mode_gpu()
    golden_cases.run_net(case, tmp_path)  # which only copies
