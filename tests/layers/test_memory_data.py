import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn import DataError, PrototxtError
from caffe_spn.proto import caffe_pb2, text
from tests.golden_cases import case_id, cases, run_net


def make_net(fields="batch_size: 2 channels: 1 height: 2 width: 3", more=""):
    definition = (
        f'layer {{ name: "d" type: "MemoryData" top: "data" top: "label"'
        f" memory_data_param {{ {fields} }} {more} }}"
    )
    return caffe.Net(text.parse(definition, caffe_pb2.NetParameter()), caffe.TEST)


def arrays(count):
    data = np.arange(count * 6, dtype=np.float32).reshape(count, 1, 2, 3)
    return data, np.arange(count, dtype=np.float32)


@pytest.mark.parametrize("case", cases("data", types=("MemoryData",)), ids=case_id)
def test_as_recorded_from_caffe(case, tmp_path):
    run_net(case, tmp_path)


def test_batches_go_round(tmp_path):
    net = make_net()
    data, labels = arrays(4)
    net.set_input_arrays(data, labels)
    for first in (0, 2, 0, 2):
        net.forward()
        np.testing.assert_array_equal(net.blobs["data"].data, data[first : first + 2])
        assert net.blobs["label"].data.ravel().tolist() == [first, first + 1]


def test_a_transformation_has_no_effect_and_says_so():
    with pytest.warns(UserWarning, match="transform_param has no effect"):
        net = make_net(more="transform_param { scale: 2 }")
    data, labels = arrays(2)
    net.set_input_arrays(data, labels)
    net.forward()
    np.testing.assert_array_equal(net.blobs["data"].data, data)


def test_new_arrays_start_at_their_beginning():
    net = make_net()
    net.set_input_arrays(*arrays(4))
    net.forward()
    data, labels = arrays(2)
    net.set_input_arrays(data + 100, labels)
    net.forward()
    np.testing.assert_array_equal(net.blobs["data"].data, data + 100)


def test_forward_without_arrays_is_an_error():
    with pytest.raises(DataError, match=r"layer 'd'[\s\S]*has no data yet[\s\S]*set_input_arrays"):
        make_net().forward()


@pytest.mark.parametrize("missing", ["batch_size", "channels", "height", "width"])
def test_missing_sizes_are_refused(missing):
    sizes = {"batch_size": 2, "channels": 1, "height": 2, "width": 3}
    del sizes[missing]
    with pytest.raises(PrototxtError, match="all must be positive"):
        make_net(" ".join(f"{k}: {v}" for k, v in sizes.items()))


DATA, LABELS = arrays(4)
MISFITS = [
    (DATA.astype(float), LABELS, "data is float64"),
    (DATA, LABELS.astype(int), "labels is int64"),
    (DATA[:, :, ::-1], LABELS, "data must be C contiguous"),
    (DATA.reshape(4, 1, 3, 2), LABELS, r"shape \(4, 1, 3, 2\); it must be \(N, 1, 2, 3\)"),
    (DATA.reshape(4, 6), LABELS, "data has shape"),
    (DATA, LABELS.reshape(2, 2, 1, 1), "labels has shape"),
    (DATA, LABELS[:2], "4 data and 2 labels"),
    (DATA[:3], LABELS[:3], "3 data; it must be a multiple of batch_size 2"),
    (DATA[:0], LABELS[:0], "0 data"),
]


@pytest.mark.parametrize("data, labels, message", MISFITS)
def test_arrays_that_do_not_fit_are_refused(data, labels, message):
    with pytest.raises(DataError, match=message):
        make_net().set_input_arrays(data, labels)
