import gc
import threading

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn import DataError, PrototxtError
from caffe_spn.proto import caffe_pb2, text
from tests.data.tiny_sets import make_set, save_label

SETTINGS = "batch_size: 3 patch_size: 24 patches_per_image: 2 "


def make_net(root, fields="", phase=caffe.TRAIN, settings=SETTINGS):
    definition = (
        f'layer {{ name: "d" type: "SegmentationPatch" top: "image" top: "coarse" top: "label"'
        f' segmentation_patch_param {{ source: "{root}" {settings} {fields} }} }}'
    )
    return caffe.Net(text.parse(definition, caffe_pb2.NetParameter()), phase)


def run(net, count):
    batches = []
    for _ in range(count):
        net.forward()
        batches.append([net.blobs[name].data.copy() for name in ("image", "coarse", "label")])
    return batches


def assert_equal(got, want):
    for a, b in zip(got, want, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_shapes_are_known_before_the_first_batch(tmp_path):
    net = make_net(make_set(tmp_path))
    shapes = {name: blob.shape for name, blob in net.blobs.items()}
    assert shapes == {"image": (3, 3, 24, 24), "coarse": (3, 3, 24, 24), "label": (3, 1, 24, 24)}
    net.forward()
    assert shapes == {name: blob.shape for name, blob in net.blobs.items()}
    net.close()


def test_num_classes_and_ignore_label_of_the_definition_count(tmp_path):
    root = make_set(tmp_path, sizes=((20, 20),), meta=False)
    net = make_net(root, "num_classes: 5 ignore_label: 9 prefetch: 0")
    net.forward()
    assert net.blobs["coarse"].shape == (3, 5, 24, 24)
    assert set(np.unique(net.blobs["label"].data)) <= {0, 1, 2, 9}


def test_the_package_seed_decides_unless_the_layer_has_its_own(tmp_path):
    root = make_set(tmp_path)

    def first(seed, fields=""):
        caffe.set_random_seed(seed)
        net = make_net(root, fields)
        batches = run(net, 2)
        net.close()
        return batches

    assert_equal(first(1), first(1))
    assert (first(1)[0][0] != first(2)[0][0]).any()
    assert_equal(first(1, "random_seed: 7"), first(2, "random_seed: 7"))


@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, prefetch):
    root = make_set(tmp_path)
    net = make_net(root, f"prefetch: {prefetch}")
    run(net, 3)
    state = net.layers[0].state()
    assert state["next_batch"] == 3
    want = run(net, 4)
    net.layers[0].restore_state(state)
    assert_equal(run(net, 4), want)
    net.close()
    other = make_net(root, "prefetch: 2")
    run(other, 1)
    other.layers[0].restore_state(state)
    assert_equal(run(other, 4), want)
    other.close()


def test_a_state_of_something_else_is_refused(tmp_path):
    net = make_net(make_set(tmp_path))
    with pytest.raises(DataError, match=r"layer 'd'[\s\S]*has seed and next_batch"):
        net.layers[0].restore_state({"row": 3})


def test_mean_and_scale(tmp_path):
    root = make_set(tmp_path)
    plain, scaled = (
        run(make_net(root, "prefetch: 0 random_seed: 3 " + fields), 1)[0]
        for fields in ("", "mean_value: 10 mean_value: 20 mean_value: 30 image_scale: 0.5")
    )
    inside = plain[2] != 255
    want = (plain[0] - np.array([10, 20, 30])[:, None, None]) * 0.5
    np.testing.assert_allclose(np.where(inside, scaled[0], 0), np.where(inside, want, 0), atol=1e-3)


def test_testing_does_not_turn_scale_or_mirror(tmp_path):
    """A horizontal ramp shows any of the three."""
    from PIL import Image

    root = make_set(tmp_path, sizes=((40, 40),))
    ramp = np.arange(40, dtype=np.uint8)[None, :, None].repeat(40, 0).repeat(3, 2)
    Image.fromarray(ramp).save(root / "JPEGImages/im0.png")
    image = run(make_net(root, "prefetch: 0", caffe.TEST), 1)[0][0]
    np.testing.assert_allclose(np.diff(image, axis=3), 1, atol=1e-4)
    image = run(make_net(root, "prefetch: 0", caffe.TRAIN), 1)[0][0]
    assert abs(np.diff(image, axis=3) - 1).max() > 0.01


def test_the_thread_ends_with_the_net(tmp_path):
    def threads():
        return [t for t in threading.enumerate() if t.name == "caffe_spn prefetch"]

    net = make_net(make_set(tmp_path))
    net.forward()
    assert len(threads()) == 1
    net.close()
    assert threads() == []
    net.forward()
    del net
    gc.collect()
    assert threads() == []


def test_errors_of_the_thread_arrive_with_layer_and_file(tmp_path):
    root = make_set(tmp_path)
    for n in range(3):
        save_label(root / f"SegmentationClass/im{n}.png", np.full((4, 4), 1))
    net = make_net(root)
    with pytest.raises(DataError, match=r"layer 'd' \(Segm.*im\d\.png[\s\S]*is 4 x 4 \(w x h\)"):
        net.forward()
    net.close()


BAD_FIELDS = {
    "patch_size: 0": "patch_size is 0",
    "batch_size: 0": "batch_size is 0",
    "patches_per_image: 0": "patches_per_image is 0",
    "coarse_factor: 0": "coarse_factor is 0",
    "scale_min: 1.2 scale_max: 1.1": "scales from 1.2 to 1.1 make no range",
    "scale_min: 0": "scales from 0 to",
    "rotation: -1": "rotation is -1",
    "coarse_noise: nan": "coarse_noise is nan",
    "mean_value: 1 mean_value: 2": "has 2 mean_value",
    "num_classes: 1": "num_classes is 1",
}


@pytest.mark.parametrize("fields", BAD_FIELDS)
def test_parameters_that_make_no_sense_are_refused(tmp_path, fields):
    with pytest.raises(PrototxtError, match=BAD_FIELDS[fields]):
        make_net(make_set(tmp_path), fields, settings="")


def test_what_the_set_lacks_is_told_when_the_net_is_built(tmp_path):
    with pytest.raises(PrototxtError, match="names no set"):
        make_net("")
    root = make_set(tmp_path, meta=False)
    with pytest.raises(PrototxtError, match="how many classes"):
        make_net(root)
    with pytest.raises(DataError, match="has no split 'val'"):
        make_net(root, 'split: "val" num_classes: 3')
    (root / "prob").mkdir()
    with pytest.raises(DataError, match="'im0' has no coarse map"):
        make_net(root, f'coarse: "{root}/prob" num_classes: 3')
