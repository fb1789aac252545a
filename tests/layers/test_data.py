import io

import numpy as np
import pytest
from PIL import Image

import caffe_spn as caffe
from caffe_spn import DataError, PrototxtError
from caffe_spn.data.db import open_db
from caffe_spn.data.db_source import DatumSource
from caffe_spn.data.images import decode_image
from caffe_spn.data.transformer import DataTransformer
from caffe_spn.io import array_to_blobproto, array_to_datum
from caffe_spn.proto import caffe_pb2, text
from tests.data.databases import BACKENDS, images, need, write, write_images
from tests.golden_cases import FOLDER, case_id, cases, run_net

COUNT = 5


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current directory; `db` there holds the images of `images()`, labelled 0 to 4."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "db", images(COUNT))
    return tmp_path


def make_net(
    fields="batch_size: 2", transform="", phase=caffe.TEST, source="db", label=True, backend="LMDB"
):
    label_top = 'top: "label"' if label else ""
    definition = (
        f'layer {{ name: "d" type: "Data" top: "data" {label_top}'
        f' data_param {{ source: "{source}" backend: {backend} {fields} }}'
        f" transform_param {{ {transform} }} }}"
    )
    return caffe.Net(text.parse(definition, caffe_pb2.NetParameter()), phase)


def forward(net):
    net.forward()
    return net.blobs["data"].data.copy()


def batches(net, count):
    out = []
    for _ in range(count):
        out.append((forward(net), net.blobs["label"].data.copy()))
    net.close()
    return out


def encoded(array, file_format="PNG", label=0, **options):
    """A datum's bytes with an image file of an array (H, W, C) in red, green, blue."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, file_format, **options)
    return caffe_pb2.Datum(data=stream.getvalue(), label=label, encoded=True).SerializeToString()


@pytest.mark.parametrize("case", cases("data", types=("Data",)), ids=case_id)
def test_as_recorded_from_caffe(case, tmp_path):
    need("leveldb" if "leveldb" in case["name"] else "lmdb")
    run_net(case, tmp_path)


def test_refused_as_by_caffe():
    with pytest.raises(DataError, match="no such database"):
        caffe.Net(str(FOLDER / "text_sem_data_no_such_lmdb.prototxt"), caffe.TRAIN)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch", [1, 2, 3, 5, 12])
def test_records_come_in_order_and_again_at_the_end(tmp_path, backend, batch):
    arrays = images(COUNT)
    source = write_images(tmp_path / "db", arrays, backend)
    net = make_net(f"batch_size: {batch}", source=source, backend=backend.upper())
    assert net.blobs["data"].shape == (batch, 3, 6, 8) and net.blobs["label"].shape == (batch,)
    number = 0
    for data, labels in batches(net, 6):
        for values, label in zip(data, labels, strict=True):
            assert label == number % COUNT
            np.testing.assert_array_equal(values, arrays[number % COUNT])
            number += 1


def test_without_labels(folder):
    net = make_net(label=False)
    assert list(net.blobs) == ["data"]
    np.testing.assert_array_equal(forward(net), images(COUNT)[:2])
    net.close()


def test_floats(folder):
    values = np.random.default_rng(0).standard_normal((2, 4, 3, 5))
    write_images("floats", values)
    np.testing.assert_array_equal(forward(make_net(source="floats")), values.astype(np.float32))


def test_mean_file_crop_and_scale(folder):
    mean = np.random.default_rng(1).uniform(0, 255, (3, 6, 8)).astype(np.float32)
    (folder / "mean").write_bytes(array_to_blobproto(mean[None]).SerializeToString())
    net = make_net(transform='mean_file: "mean" crop_size: 4 scale: 0.5')
    want = ((images(COUNT)[:2] - mean) * np.float32(0.5))[:, :, 1:5, 2:6]
    np.testing.assert_array_equal(forward(net), want)
    net.close()


def test_in_training_crops_and_mirrors_vary_and_stay_inside(folder):
    seen = set()
    caffe.set_random_seed(3)
    for data, labels in batches(make_net("batch_size: 5", "crop_size: 5 mirror: true", 0), 30):
        for values, label in zip(data, labels, strict=True):
            image = images(COUNT)[int(label)]
            places = [
                (top, left, mirrored)
                for top in range(2)
                for left in range(4)
                for mirrored in (False, True)
                if (flip(image[:, top : top + 5, left : left + 5], mirrored) == values).all()
            ]
            assert len(places) == 1
            seen.update(places)
    assert len(seen) == 16


def flip(image, mirrored):
    return image[:, :, ::-1] if mirrored else image


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_image_files_are_decoded_to_blue_green_red(folder, file_format):
    rgb = np.moveaxis(images(3, (3, 16, 24)), 1, 3)
    stored = [(b"%d" % n, encoded(a, file_format, n)) for n, a in enumerate(rgb)]
    write(folder / "files", stored)
    net = make_net("batch_size: 3", source="files")
    assert net.blobs["data"].shape == (3, 3, 16, 24)
    data = forward(net)
    for values, array, (_, record) in zip(data, rgb, stored, strict=True):
        if file_format == "PNG":
            np.testing.assert_array_equal(values, np.moveaxis(array[:, :, ::-1], 2, 0))
        pixels = decode_image(caffe_pb2.Datum.FromString(record).data)
        np.testing.assert_array_equal(values, np.moveaxis(pixels, 2, 0))
    np.testing.assert_array_equal(net.blobs["label"].data, [0, 1, 2])
    net.close()


def test_grey_and_colour_on_request(folder):
    colour, grey = images(1, (6, 8, 3))[0], images(1, (6, 8))[0]
    write(folder / "mixed", [(b"0", encoded(colour)), (b"1", encoded(grey))])
    data = forward(make_net(transform="force_color: true", source="mixed"))
    np.testing.assert_array_equal(data[1], np.broadcast_to(grey, (3, 6, 8)))
    data = forward(make_net("batch_size: 2 force_encoded_color: true", source="mixed"))
    np.testing.assert_array_equal(data[0], np.moveaxis(colour[:, :, ::-1], 2, 0))
    data = forward(make_net(transform="force_gray: true", source="mixed"))
    assert data.shape == (2, 1, 6, 8)
    np.testing.assert_allclose(data[0, 0], colour @ [0.299, 0.587, 0.114], atol=1)
    net = make_net(source="mixed")
    with pytest.raises(DataError, match=r"mixed: key '1'\n  is \(1, 6, 8\).*\(3, 6, 8\)"):
        forward(net)
    net.close()


def test_opacity_is_a_channel_and_pictures_are_not_turned(folder):
    # As OpenCV's IMREAD_UNCHANGED, which is how Caffe decodes without force_color.
    rgba = images(1, (6, 8, 4))[0]
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(rgba[:, :, :3], exif=exif)
    write(folder / "a", [(b"0", encoded(rgba))])
    write(folder / "b", [(b"0", turned)])
    data = forward(make_net("batch_size: 1", source="a"))
    np.testing.assert_array_equal(data[0], np.moveaxis(rgba[:, :, [2, 1, 0, 3]], 2, 0))
    assert forward(make_net("batch_size: 1", source="b")).shape == (1, 3, 6, 8)


def test_forcing_the_colours_of_pixels_does_nothing_and_says_so(folder):
    with pytest.warns(UserWarning, match="force_color and force_gray are for datums"):
        net = make_net(transform="force_gray: true")
    assert forward(net).shape == (2, 3, 6, 8)
    net.close()


def test_sizes_may_differ_between_batches_of_one_only(folder):
    arrays = [images(1)[0], images(1, (3, 4, 9))[0]]
    write_images("sizes", arrays)
    net = make_net("batch_size: 1", source="sizes")
    for array in (*arrays, *arrays):
        np.testing.assert_array_equal(forward(net)[0], array)
    net.close()
    net = make_net(source="sizes")
    with pytest.raises(DataError, match=r"layer 'd'.*sizes: key '00000001_1'\n  is \(3, 4, 9\)"):
        forward(net)
    net.close()
    assert forward(make_net(transform="crop_size: 4", source="sizes")).shape == (2, 3, 4, 4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, backend, prefetch):
    source = write_images(tmp_path / "db", images(COUNT), backend)
    fields = f"batch_size: 3 rand_skip: 4 prefetch: {prefetch}"

    def net():
        transform = "crop_size: 3 mirror: true"
        return make_net(fields, transform, caffe.TRAIN, source, backend=backend.upper())

    first = net()
    for _ in range(4):
        forward(first)
    state = first.layers[0].state()
    want = batches(first, 5)
    second = net()
    forward(second)
    second.layers[0].restore_state(state)
    for got, expected in zip(batches(second, 5), want, strict=True):
        np.testing.assert_array_equal(got[0], expected[0])
        np.testing.assert_array_equal(got[1], expected[1])


SOLVER = """
net_param {
  layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TRAIN }
    data_param { source: "db" backend: LMDB batch_size: 3 }
    transform_param { crop_size: 4 mirror: true scale: 0.01 } }
  layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TEST }
    data_param { source: "db" backend: LMDB batch_size: 2 }
    transform_param { crop_size: 4 scale: 0.01 } }
  layer { name: "score" type: "InnerProduct" bottom: "data" top: "score"
    inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
  layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
}
base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 random_seed: 5 max_iter: 9 test_iter: 2
test_interval: 2 snapshot: 4 snapshot_prefix: "net"
"""


def test_a_training_goes_on_from_its_snapshot_as_if_it_had_not_stopped(folder):
    (folder / "solver.prototxt").write_text(SOLVER)
    first = caffe.get_solver("solver.prototxt")
    first.solve()
    second = caffe.get_solver("solver.prototxt")
    second.restore("net_iter_4.solverstate")
    second.solve()
    for blob, other in zip(first.net.params["score"], second.net.params["score"], strict=True):
        np.testing.assert_array_equal(blob.data, other.data)


def test_rand_skip_starts_somewhere_below(folder):
    starts = set()
    for seed in range(30):
        caffe.set_random_seed(seed)
        starts.add(int(batches(make_net("batch_size: 1 rand_skip: 3"), 1)[0][1][0]))
    assert starts == {0, 1, 2}


def test_batches_do_not_depend_on_which_were_read_before(folder, monkeypatch):
    def source():
        return DatumSource(open_db("db", "LMDB"), transformer, batch_size=2, skip=1)

    transformer = DataTransformer(caffe_pb2.TransformationParameter(), caffe.TEST)
    want = [source().batch(k)[1].tolist() for k in range(12)]
    assert want[:3] == [[1, 2], [3, 4], [0, 1]]
    monkeypatch.setattr("caffe_spn.data.db_source._NEAR", 6)
    read = source()
    for k in (0, 3, 4, 11, 2, 5, 6, 6):
        assert read.batch(k)[1].tolist() == want[k]


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_and_testing_may_read_the_same_database(tmp_path, backend):
    source = write_images(tmp_path / "db", images(COUNT), backend)
    nets = [make_net(phase=p, source=source, backend=backend.upper()) for p in (0, 1)]
    for net in nets * 2:
        forward(net)
    for net in nets:
        net.close()


def test_a_closed_network_lets_go_of_its_leveldb_and_can_go_on(tmp_path):
    source = write_images(tmp_path / "db", images(COUNT), "leveldb")
    net = make_net("batch_size: 1", source=source, backend="LEVELDB")
    forward(net)
    net.close()
    pytest.importorskip("plyvel").DB(str(source)).close()
    np.testing.assert_array_equal(forward(net), images(COUNT)[1:2])
    net.close()


def test_bad_records_name_source_and_key(folder):
    good = array_to_datum(images(1)[0]).SerializeToString()
    short = array_to_datum(images(1)[0])
    short.height = 7
    for bad, message in (
        (b"\xff\xff\xff", "its 3 bytes are not a Datum"),
        (b"", "is a datum without pixels"),
        (short.SerializeToString(), r"\(3, 7, 8\) holds 144 values"),
        (encoded(images(1, (6, 8, 3))[0])[:80], r"are not a Datum|cannot be decoded"),
    ):
        source = write(folder / f"bad{len(bad)}", [(b"a", good), (b"b", bad)])
        net = make_net(source=source)
        with pytest.raises(DataError, match=rf"layer 'd'.*bad\d+: key 'b'\n.*({message})"):
            forward(net)
        net.close()


def test_a_broken_image_file_names_source_and_key(folder):
    datum = caffe_pb2.Datum.FromString(encoded(images(1, (40, 40, 3))[0]))
    datum.data = datum.data[:200]
    write(folder / "bad", [(b"only", datum.SerializeToString())])
    with pytest.raises(DataError, match=r"layer 'd'.*bad: key 'only'\n  cannot be decoded"):
        make_net(source="bad")


def test_a_missing_or_empty_database_and_one_of_the_other_kind(folder):
    with pytest.raises(DataError, match=r"layer 'd'.*none\n  no such database"):
        make_net(source="none")
    with pytest.raises(DataError, match=r"kind LMDB, not LEVELDB[\s\S]*backend: LMDB"):
        make_net(backend="LEVELDB")
    write(folder / "empty", [])
    with pytest.raises(DataError, match="the database is empty"):
        make_net(source="empty")


def test_a_crop_or_a_mean_that_does_not_fit_names_the_key(folder):
    with pytest.raises(DataError, match=r"db: key '00000000_0'\n.*8 x 6 \(w x h\) is smaller"):
        make_net(transform="crop_size: 7")
    with pytest.raises(DataError, match=r"key '00000000_0'\n.*mean values of shape \(2, 1, 1\)"):
        make_net(transform="mean_value: 1 mean_value: 2")


def test_parameters_that_make_no_sense_are_refused(folder):
    with pytest.raises(PrototxtError, match="batch_size is 0"):
        make_net("batch_size: 0")
    with pytest.raises(PrototxtError, match="has no source"):
        make_net(source="")
    with pytest.raises(PrototxtError, match=r"has crop_size, which Caffe ignores[\s\S]*transform"):
        make_net("batch_size: 2 crop_size: 3")
    with pytest.raises(PrototxtError, match="both force_color and force_gray"):
        make_net("batch_size: 2 force_encoded_color: true", "force_gray: true")


def test_old_definitions_are_brought_up_to_date(folder):
    old = (
        'layers { name: "d" type: DATA top: "data" top: "label"'
        ' data_param { source: "db" backend: LMDB batch_size: 2 crop_size: 4 scale: 0.5 } }'
    )
    net = caffe.Net(text.parse(old, caffe_pb2.NetParameter()), caffe.TEST)
    np.testing.assert_array_equal(forward(net), images(COUNT)[:2, :, 1:5, 2:6] * 0.5)
    net.close()
