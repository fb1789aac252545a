"""The Im2col layer on a GPU: against its CPU path, and against Caffe's records."""

import pytest

from tests import golden_cases
from tests.cuda import both_devices
from tests.cuda.arrays import normal

CASES = {
    "3x3": ("kernel_size: 3 stride: 2 pad: 1", (2, 3, 5, 6)),
    "one axis": ("kernel_size: 2", (2, 3, 5)),
    "three axes": ("kernel_size: 2 dilation: 2", (1, 2, 4, 3, 5)),
    "axis 2": ("kernel_size: 2 axis: 2", (2, 3, 2, 3, 4)),
    "no images": ("kernel_size: 2", (0, 3, 5, 4)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_as_on_the_cpu(gpu, case):
    text = f'type: "Im2col" convolution_param {{ {case[0]} }}'
    both_devices.compare(gpu, text, normal(*case[1]))


def test_five_axes_run_on_the_host(gpu):
    launches = gpu.launches
    with pytest.raises(AssertionError, match="computed on the host"):
        text = 'type: "Im2col" convolution_param { kernel_size: 1 }'
        both_devices.compare(gpu, text, normal(1, 2, 1, 2, 1, 2, 2))
    assert gpu.launches == launches


@pytest.mark.parametrize(
    "case", golden_cases.cases("layer", types=("Im2col",)), ids=golden_cases.case_id
)
def test_as_caffe_recorded(gpu, case, tmp_path):
    both_devices.run_golden(gpu, case, tmp_path)
