import numpy as np
import pytest
from PIL import Image

import caffe_spn as caffe
from caffe_spn import DataError, PrototxtError
from caffe_spn.data.images import read_image, resize
from caffe_spn.proto import caffe_pb2, text
from tests.golden_cases import FOLDER, case_id, cases, run_net

COUNT = 5


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    for n in range(COUNT):
        pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"im {n}.png")
    (tmp_path / "list.txt").write_text("".join(f"im {n}.png {n}\n" for n in range(COUNT)))
    return tmp_path


def make_net(folder, fields="batch_size: 2", transform="", phase=caffe.TRAIN):
    definition = (
        f'layer {{ name: "d" type: "ImageData" top: "data" top: "label"'
        f' image_data_param {{ source: "{folder}/list.txt" root_folder: "{folder}/" {fields} }}'
        f" transform_param {{ {transform} }} }}"
    )
    return caffe.Net(text.parse(definition, caffe_pb2.NetParameter()), phase)


def labels(net, batches):
    out = []
    for _ in range(batches):
        net.forward()
        out += net.blobs["label"].data.astype(int).tolist()
    net.close()
    return out


def pixels(folder, n):
    return np.moveaxis(read_image(folder / f"im {n}.png"), 2, 0)


@pytest.mark.parametrize("case", cases("data", types=("ImageData",)), ids=case_id)
def test_as_recorded_from_caffe(case, tmp_path):
    run_net(case, tmp_path)


@pytest.mark.parametrize("name", ["new_height_only", "no_such_list"])
def test_refused_as_by_caffe(name):
    with pytest.raises((PrototxtError, DataError)):
        caffe.Net(str(FOLDER / f"text_sem_imagedata_{name}.prototxt"), caffe.TRAIN)


@pytest.mark.parametrize("field", ["scale: 2", 'mean_file: "m"', "crop_size: 4", "mirror: true"])
def test_old_fields_are_refused_and_say_where_they_belong(images, field):
    name = field.split(":")[0]
    with pytest.raises(PrototxtError, match=rf"has {name}, which Caffe ignores[\s\S]*transform"):
        make_net(images, f"batch_size: 2 {field}")


def test_old_definitions_have_their_fields_moved(images):
    definition = (
        f'layers {{ name: "d" type: IMAGE_DATA top: "data" top: "label" image_data_param {{'
        f' source: "{images}/list.txt" root_folder: "{images}/" batch_size: 2 crop_size: 4 }} }}'
    )
    net = caffe.Net(text.parse(definition, caffe_pb2.NetParameter()), caffe.TEST)
    assert net.blobs["data"].shape == (2, 3, 4, 4)
    net.close()


def test_forced_colours_have_no_effect_and_say_so(images):
    with pytest.warns(UserWarning, match="is_color has"):
        net = make_net(images, transform="force_gray: true")
    assert net.blobs["data"].shape[1] == 3
    net.close()


def test_mean_file_and_value_are_refused_as_by_caffe():
    with pytest.raises(PrototxtError, match="at the same time"):
        caffe.Net(str(FOLDER / "text_sem_mean_file_and_value.prototxt"), caffe.TRAIN)


def test_order_of_the_list_and_paths_with_blanks(images):
    net = make_net(images)
    assert net.blobs["data"].shape == (2, 3, 6, 8) and net.blobs["label"].shape == (2,)
    net.forward()
    np.testing.assert_array_equal(net.blobs["data"].data[1], pixels(images, 1))
    net.close()
    assert labels(make_net(images), 5) == [0, 1, 2, 3, 4] * 2


def test_resizing_comes_before_the_crop(images):
    net = make_net(
        images, "batch_size: 2 new_height: 9 new_width: 7", "crop_size: 5 scale: 2", caffe.TEST
    )
    assert net.blobs["data"].shape == (2, 3, 5, 5)
    net.forward()
    want = resize(read_image(images / "im 0.png"), 9, 7)[2:7, 1:6] * 2.0
    np.testing.assert_array_equal(net.blobs["data"].data[0], np.moveaxis(want, 2, 0))
    net.close()


def test_shuffling_uses_each_image_once_a_pass_and_follows_the_seed(images):
    fields = "batch_size: 2 shuffle: true"
    caffe.set_random_seed(1)
    first = labels(make_net(images, fields), 10)
    caffe.set_random_seed(1)
    assert labels(make_net(images, fields), 10) == first
    passes = [first[5 * k : 5 * k + 5] for k in range(4)]
    assert all(sorted(p) == [0, 1, 2, 3, 4] for p in passes)
    assert len({tuple(p) for p in passes}) > 1


def test_rand_skip_starts_somewhere_below(images):
    starts = {labels(make_net(images, "batch_size: 1 rand_skip: 3"), 1)[0] for _ in range(40)}
    assert starts == {0, 1, 2}


def test_a_resumed_run_equals_an_uninterrupted_one(images):
    fields, transform = "batch_size: 3 shuffle: true rand_skip: 4", "crop_size: 3 mirror: true"
    net = make_net(images, fields, transform)

    def run(net, count):
        out = []
        for _ in range(count):
            net.forward()
            out.append((net.blobs["data"].data.copy(), net.blobs["label"].data.copy()))
        return out

    run(net, 2)
    state = net.layers[0].state()
    want = run(net, 4)
    net.close()
    other = make_net(images, fields, transform)
    run(other, 1)
    other.layers[0].restore_state(state)
    for got, expected in zip(run(other, 4), want, strict=True):
        np.testing.assert_array_equal(got[0], expected[0])
        np.testing.assert_array_equal(got[1], expected[1])
    other.close()


def test_batches_of_one_may_differ_in_size(images):
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(images / "im 1.png")
    net = make_net(images, "batch_size: 1")
    net.forward()
    assert net.blobs["data"].shape == (1, 3, 6, 8)
    net.forward()
    assert net.blobs["data"].shape == (1, 3, 4, 5)
    net.close()
    net = make_net(images)
    with pytest.raises(DataError, match=r"list\.txt:2: .*im 1\.png[\s\S]*is \(3, 4, 5\)"):
        net.forward()
    net.close()


def test_a_bad_image_names_itself_and_its_line(images):
    (images / "im 3.png").write_text("no image")
    net = make_net(images)
    net.forward()
    with pytest.raises(DataError, match=r"layer 'd'.*list\.txt:4: .*im 3\.png[\s\S]*decoded"):
        net.forward()
    net.close()
    (images / "im 0.png").unlink()
    with pytest.raises(DataError, match=r"list\.txt:1: .*im 0\.png[\s\S]*no such image"):
        make_net(images)


@pytest.mark.parametrize(
    "content, message",
    [
        ("im 0.png 0\nim 1.png\n", r"list\.txt:2[\s\S]*'im 1\.png' is not 'path label'"),
        ("im 0.png 0\n\n7\n", r"list\.txt:3[\s\S]*'7' is not"),
        ("\n", "the list of images is empty"),
    ],
)
def test_bad_lists_name_the_line(images, content, message):
    (images / "list.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        make_net(images)


def test_parameters_that_make_no_sense_are_refused(images):
    with pytest.raises(PrototxtError, match="new_height is 3 and new_width 0"):
        make_net(images, "new_height: 3")
    with pytest.raises(PrototxtError, match="batch_size is 0"):
        make_net(images, "batch_size: 0")
