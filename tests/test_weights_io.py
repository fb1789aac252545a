"""Weights between files and nets."""

import os
import tracemalloc
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn import weights_io
from caffe_spn.blob import Blob
from caffe_spn.errors import WeightsError
from caffe_spn.proto import binary, caffe_pb2, text, wire
from caffe_spn.proto.blobs import array_to_blob_proto, blob_pieces
from caffe_spn.weights_h5 import is_hdf5
from tests import golden_cases as golden


def fake_net(shared=(), **layers):
    """What `apply` and `write_h5` use of a net: layers with blobs of these shapes."""
    net = SimpleNamespace(layer_names=list(layers), layers=[], learnable_params=[])
    for name, shapes in layers.items():
        blobs = [Blob(shape) for shape in shapes]
        net.layers.append(SimpleNamespace(blobs=blobs))
        net.learnable_params += [b for i, b in enumerate(blobs) if (name, i) not in shared]
    return net


def values(net):
    return {
        name: [blob.data.copy() for blob in layer.blobs]
        for name, layer in zip(net.layer_names, net.layers, strict=True)
    }


def arrays(*shapes):
    rng = np.random.default_rng(len(shapes))
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


# .caffemodel


@pytest.mark.parametrize(
    "case", [c for c in golden.cases("weights") if c["name"].endswith(("garbage", "truncated"))],
    ids=golden.case_id,
)  # fmt: skip
def test_recorded_damage(case):
    with pytest.raises(WeightsError, match="they are no NetParameter") as caught:
        weights_io.read_caffemodel(golden.FOLDER / case["weights"])
    assert caught.value.where.endswith(case["weights"])


def layer_types(case):
    net = text.read(golden.FOLDER / f"{case['name']}.prototxt", caffe_pb2.NetParameter)
    return {layer.type for layer in net.layer}


@pytest.mark.parametrize("case", golden.cases("weights"), ids=golden.case_id)
def test_recorded(case, tmp_path):
    missing = layer_types(case) - set(caffe.layer_type_list())
    if missing:
        pytest.skip(f"no layer {missing}")
    with golden.copied(case, tmp_path):
        net = caffe.Net(case["name"] + ".prototxt", caffe.TEST)
        if case["expect"] == "error":
            before = values(net)
            with pytest.raises(WeightsError):
                net.copy_from(case["weights"])
            after = values(net)
            for name in before:
                for one, other in zip(before[name], after[name], strict=True):
                    np.testing.assert_array_equal(one, other)
            return
        net.copy_from(case["weights"])
        recorded = np.load(case["name"] + ".npz")
        for key, value in golden.part(recorded, "param").items():
            np.testing.assert_array_equal(golden.param_blob(net, key).data, value)
        for name, value in golden.part(recorded, "in").items():
            net.blobs[name].data[...] = value
        net.forward()
        for name, value in golden.part(recorded, "out").items():
            golden.compare(case, f"out/{name}", net.blobs[name].data, value)


def caffemodel(**layers):
    net = caffe_pb2.NetParameter(name="n")
    for name, params in layers.items():
        layer = net.layer.add(name=name)
        for array in params:
            array_to_blob_proto(array, out=layer.blobs.add())
    return net


def test_there_and_back(tmp_path):
    written = {"data": [], "conv": arrays((3, 2, 3, 3), (3,)), "scalar": arrays(())}
    path = tmp_path / "n.caffemodel"
    weights_io.write_caffemodel(path, caffemodel(**written))
    for source in (path, str(path), caffe_pb2.NetParameter.FromString(path.read_bytes())):
        read = weights_io.read_caffemodel(source)
        assert list(read) == list(written)
        for name in written:
            for got, want in zip(read[name], written[name], strict=True):
                np.testing.assert_array_equal(got, want)
    assert os.listdir(tmp_path) == ["n.caffemodel"]


@pytest.mark.parametrize("write_diff", [False, True])
def test_a_net_is_written_as_its_message(write_diff, tmp_path):
    """Byte for byte, though its numbers are never in a message."""
    name = "weights_written_by_caffe"
    with golden.copied(next(c for c in golden.INDEX if c["name"] == name), tmp_path):
        net = caffe.Net(f"{name}.prototxt", caffe.TEST, weights=f"{name}.caffemodel")
        for blob in net.learnable_params:
            blob.diff[...] = 0.25
        weights_io.write_caffemodel("streamed", net, write_diff)
        weights_io.write_caffemodel("message", net.to_proto(write_diff))
        assert (tmp_path / "streamed").read_bytes() == (tmp_path / "message").read_bytes()
        assert len(net.learnable_params) == 4


def test_hostile_sizes_are_refused_before_memory_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "MAX_PARTS", 2000)
    path = tmp_path / "n.caffemodel"
    path.write_bytes(b"\xa2\x06\x00" * 100_000)
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match="more than 2000 layers and blobs"):
            weights_io.read_caffemodel(path)
        assert tracemalloc.get_traced_memory()[1] < 2 * path.stat().st_size
    finally:
        tracemalloc.stop()


def test_weights_of_a_fork_whose_definition_makes_no_sense_here(tmp_path):
    """Its numbers stand for other fields, of other types: Caffe's 143 is a message, 147 too."""
    array = np.arange(3, dtype=np.float32)
    blob = b"".join(blob_pieces(7, array))
    odd = wire.prefix(143, 4) + b"text" + wire.prefix(147, 3) + b"\xff\xff\xff" + b"\xa0\x09\x01"
    layer = wire.prefix(1, 1) + b"a" + wire.prefix(2, 2) + b"\xff\xff" + odd + blob
    path = tmp_path / "n.caffemodel"
    path.write_bytes(wire.prefix(100, len(layer)) + layer)
    (read,) = weights_io.read_caffemodel(path)["a"]
    np.testing.assert_array_equal(read, array)


def test_layers_of_two_generations_are_refused():
    net = caffe_pb2.NetParameter(layer=[{"name": "a"}], layers=[{"name": "b"}])
    with pytest.raises(WeightsError, match="both 'layer' and the old 'layers'"):
        weights_io.read_caffemodel(net)


def test_wrong_blob_names_the_file(tmp_path):
    net = caffemodel(a=arrays((3,)))
    net.layer[0].blobs[0].shape.dim[0] = 4
    weights_io.write_caffemodel(tmp_path / "n.caffemodel", net)
    with pytest.raises(WeightsError, match=r"shape 4 \(4\) has 3 numbers") as caught:
        weights_io.read_caffemodel(tmp_path / "n.caffemodel")
    assert caught.value.where == str(tmp_path / "n.caffemodel")


@pytest.mark.parametrize("size", range(0, 230, 7))
def test_cut_off_anywhere(size, tmp_path):
    path = tmp_path / "n.caffemodel"
    weights_io.write_caffemodel(path, caffemodel(a=arrays((5, 5)), b=arrays((5, 5))))
    path.write_bytes(path.read_bytes()[:size])
    try:
        weights_io.read_caffemodel(path)
    except WeightsError as error:
        assert f"the file has {size} bytes" in error.message


def test_layer_name_that_is_no_text(tmp_path):
    path = tmp_path / "n.caffemodel"
    path.write_bytes(b"\xa2\x06\x03\x0a\x01\xff")
    with pytest.raises(WeightsError, match="the name of a layer is not UTF-8: 'utf-8' codec"):
        weights_io.read_caffemodel(path)


# apply


def test_apply_lists_every_misfit_and_changes_nothing():
    net = fake_net(a=[(2, 3), (2,)], b=[(4,)], c=[(1,)])
    weights = {"a": arrays((3, 2), (2,)), "b": [], "c": arrays((1,)), "unknown": arrays((9,))}
    with pytest.raises(WeightsError) as caught:
        weights_io.apply(net, weights, where="n.caffemodel")
    assert caught.value.message == (
        "layer 'a': param 0 is 3 x 2 in the file, 2 x 3 in the net\n"
        "layer 'b': 0 arrays in the file, 1 parameters in the net"
    )
    assert caught.value.where == "n.caffemodel"
    assert "another name" in caught.value.help
    assert not any(array.any() for layer in values(net).values() for array in layer)


def test_apply_keeps_layers_that_the_file_lacks():
    net = fake_net(a=[(2,)], b=[(2,)])
    weights_io.apply(net, {"b": [np.array([1, 2])]})
    assert [v[0].tolist() for v in values(net).values()] == [[0, 0], [1, 2]]


def test_four_old_axes_fit_fewer_axes():
    net = caffe_pb2.NetParameter()
    net.layer.add(name="a").blobs.add(num=1, channels=1, height=2, width=3, data=range(6))
    weights = weights_io.read_caffemodel(net)
    weights_io.apply(target := fake_net(a=[(2, 3)]), weights)
    assert values(target)["a"][0].tolist() == [[0, 1, 2], [3, 4, 5]]
    for shape in [(3, 2), (6,), (1, 1, 1, 2, 3)]:
        with pytest.raises(WeightsError, match="param 0 is 1 x 1 x 2 x 3"):
            weights_io.apply(fake_net(a=[shape]), weights)


def test_four_new_axes_do_not():
    with pytest.raises(
        WeightsError, match="param 0 is 1 x 1 x 2 x 3 in the file, 2 x 3 in the net"
    ):
        weights_io.apply(fake_net(a=[(2, 3)]), {"a": arrays((1, 1, 2, 3))})


# HDF5


def test_h5_there_and_back(tmp_path):
    path = tmp_path / "n.caffemodel.h5"
    net = fake_net(data=[], conv=[(3, 2, 3, 3), (3,)], scalar=[()])
    weights = {"conv": arrays((3, 2, 3, 3), (3,)), "scalar": arrays(())}
    weights_io.apply(net, weights)
    weights_io.write_h5(path, net)
    other = fake_net(data=[], conv=[(3, 2, 3, 3), (3,)], scalar=[()])
    weights_io.apply(other, weights_io.read_h5(path), strict_counts=False)
    for name, params in values(other).items():
        for got, want in zip(params, values(net)[name], strict=True):
            np.testing.assert_array_equal(got, want)
    with h5py.File(path) as file:
        assert list(file) == ["data"]
        assert list(file["data"]) == ["conv", "data", "scalar"]
        assert file["data/conv/0"].dtype == np.float32
    assert os.listdir(tmp_path) == ["n.caffemodel.h5"]


def test_h5_has_shared_parameters_once_and_diffs_if_asked(tmp_path):
    path = tmp_path / "n.caffemodel.h5"
    net = fake_net(shared=[("b", 0)], a=[(2,)], b=[(2,), (3,)])
    weights_io.write_h5(path, net, write_diff=True)
    with h5py.File(path) as file:
        assert list(file["data/b"]) == ["1"]
        assert list(file["diff/b"]) == ["0", "1"]
    read = weights_io.read_h5(path)
    assert [array is None for array in read["b"]] == [True, False]
    weights_io.apply(net, read, strict_counts=False)
    with pytest.raises(WeightsError, match="layer 'b': 1 arrays in the file, 2 parameters"):
        weights_io.apply(fake_net(b=[(2,), (3,)]), read, strict_counts=False)


@pytest.mark.parametrize("name", ["n.caffemodel.h5", "n.caffemodel"])
def test_the_content_and_not_the_name_says_what_a_file_is(name, tmp_path):
    path = tmp_path / name
    weights_io.write_h5(path, fake_net(a=[(1,)]))
    assert is_hdf5(path)
    for message in ('name: "n"', 'layers { layer { name: "a" } }', 'layer { name: "a" }'):
        binary.write(path, text.parse(message, caffe_pb2.NetParameter()))
        assert not is_hdf5(path)
    # What is neither is called what its name says, and refused as that.
    path.write_bytes(b"neither")
    assert is_hdf5(path) == name.endswith(".h5")


@pytest.mark.parametrize(
    "name", [f for c in golden.INDEX for f in c["files"] if f.endswith(".caffemodel.h5")]
)
def test_h5_of_caffe(name):
    weights = weights_io.read_h5(golden.FOLDER / name)
    assert any(weights.values())
    assert all(a.dtype == np.float32 for layer in weights.values() for a in layer if a is not None)


def h5(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            file[name.replace("__", "/")] = value
    return path


@pytest.mark.parametrize(
    "datasets, error",
    [
        ({"history__0": [1.0]}, "no group /data, only history"),
        ({"data": [1.0]}, "no group /data, only data"),
        ({"data__a": [1.0]}, "/data/a is not a group"),
        ({"data__a__w": [1.0]}, "/data/a has 'w'"),
        ({"data__a__0__b": [1.0]}, "/data/a has '0'"),
        ({"data__a__99": [1.0]}, "/data/a/99 has no parameters before it"),
        ({"data__a__0": b"text"}, "/data/a/0 holds no numbers"),
        ({"data__a__0": h5py.Empty("f")}, "/data/a/0 holds no numbers"),
    ],
)
def test_h5_of_another_layout(datasets, error, tmp_path):
    path = h5(tmp_path / "n.h5", **datasets)
    with pytest.raises(WeightsError, match=error) as caught:
        weights_io.read_h5(path)
    assert caught.value.where == str(path)


def test_h5_that_promises_more_than_it_has(tmp_path):
    path = tmp_path / "n.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data/a/0", (2**20, 2**20), "f4", chunks=(1024, 1024))
    with pytest.raises(WeightsError, match="1048576 x 1048576, but only 0 bytes are stored"):
        weights_io.read_h5(path)


def test_h5_compressed_and_of_other_types(tmp_path):
    path = tmp_path / "n.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data/a/0", data=np.zeros((200, 200), "f4"), compression="gzip")
        file["data/a/1"] = np.array([1, 2], np.int32)
        file["data/a/2"] = np.array([1.5], np.float64)
    read = weights_io.read_h5(path)["a"]
    assert [array.dtype for array in read] == [np.float32, np.float32, np.float64]


def test_h5_damaged_or_missing(tmp_path):
    path = h5(tmp_path / "n.h5", data__a__0=np.zeros(1000))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(WeightsError, match="its 3000 bytes cannot be read as HDF5"):
        weights_io.read_h5(path)
    with pytest.raises(WeightsError, match="no such file"):
        weights_io.read_h5(tmp_path / "other.h5")


@pytest.mark.parametrize("name", ["a/b", "."])
def test_h5_cannot_hold_every_name(name, tmp_path):
    with pytest.raises(WeightsError, match="cannot hold a layer named") as caught:
        weights_io.write_h5(tmp_path / "n.h5", fake_net(**{name: []}))
    assert ".caffemodel" in caught.value.help
    assert not os.listdir(tmp_path)


def test_h5_no_such_folder(tmp_path):
    with pytest.raises(WeightsError, match="cannot be written"):
        weights_io.write_h5(tmp_path / "nowhere" / "n.h5", fake_net(a=[(1,)]))
