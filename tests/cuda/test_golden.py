"""All recorded cases of nets and layers in GPU mode: BVLC Caffe is the judge here too."""

import pytest

import caffe_spn
from tests.golden_cases import case_id, cases, run_net


@pytest.mark.parametrize("case", cases("layer", "wiring", "net", "data", "filler"), ids=case_id)
def test_recorded_case(gpu, case, tmp_path):
    caffe_spn.set_mode_gpu()
    run_net(case, tmp_path)
