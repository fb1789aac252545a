"""The benchmark of weights: its files are what it says, and both sides of it run."""

import os

import numpy as np
import pytest

from benchmarks import weights
from caffe_spn import weights_io
from caffe_spn.proto.blobs import LegacyArray

MEGABYTES = 0.3


@pytest.mark.parametrize("form", weights.FORMS)
def test_each_form_holds_the_weights(form, tmp_path):
    net = weights.build(weights.definition(MEGABYTES, weights.itemsize(form)))
    for number, blob in enumerate(net.learnable_params):
        blob.data[...] = np.arange(blob.count).reshape(blob.shape) + number
    path = str(tmp_path / ("net.caffemodel" + (".h5" if form == "h5" else "")))
    weights.write(form, path, net)
    assert os.path.getsize(path) == pytest.approx(MEGABYTES * 1e6, rel=0.15)
    weights._check(path, net)
    arrays = (weights_io.read_h5 if form == "h5" else weights_io.read_caffemodel)(path)
    assert isinstance(arrays["fc0"][0], LegacyArray) == (form == "v1")
    assert arrays["fc0"][0].dtype == (np.float64 if form == "double" else np.float32)
    if form != "h5":
        assert not arrays["fc0"][0].flags.owndata

    want = [blob.data.copy() for blob in net.learnable_params]
    for blob in net.learnable_params:
        blob.data.fill(0)
    sides = weights.opening(path, net)
    assert all(function() is None for function in sides.values())
    for blob, data in zip(net.learnable_params, want, strict=True):
        np.testing.assert_array_equal(blob.data, data)
    for function in weights.saving(form, path, net).values():
        function()
    assert {os.path.getsize(path + end) for end in (".ours", ".least")} == {os.path.getsize(path)}


def test_a_row(tmp_path):
    def compare(functions):
        return dict.fromkeys(functions, weights_seconds())

    def weights_seconds():
        from benchmarks.timing import Seconds

        return Seconds(2)

    row = weights.measure("packed", MEGABYTES, str(tmp_path), compare)
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[:3] == [weights.FORMS["packed"], "0 MB", "1.00"]
    assert cells[4] == "1.00"
    assert len(cells) == 6
