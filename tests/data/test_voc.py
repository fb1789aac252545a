import json

import numpy as np
import pytest
from PIL import Image

from caffe_spn import DataError
from caffe_spn.data.images import read_image, read_label
from caffe_spn.data.voc import VocSet, voc_palette

from .tiny_sets import make_set, save_label


def test_names_images_labels_and_classes(tmp_path):
    voc = VocSet(make_set(tmp_path), "train")
    assert (len(voc), voc.names) == (3, ["im0", "im1", "im2"])
    assert voc.class_names == ["class 0", "class 1", "class 2"]
    assert (voc.num_classes, voc.ignore_label) == (3, 255)
    image, label = voc.pair(1)
    np.testing.assert_array_equal(image, read_image(tmp_path / "JPEGImages/im1.png"))
    np.testing.assert_array_equal(label, read_label(tmp_path / "SegmentationClass/im1.png"))


def test_without_meta_the_classes_are_unknown(tmp_path):
    voc = VocSet(make_set(tmp_path, meta=False), "train")
    assert (voc.class_names, voc.num_classes, voc.ignore_label) == ([], None, 255)


def test_palette_is_vocs_with_the_sets_own_colours_first(tmp_path):
    assert voc_palette()[[0, 1, 2, 15, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [192, 128, 128],
        [224, 224, 192],
    ]
    palette = VocSet(make_set(tmp_path), "train").palette
    assert palette[:2].tolist() == [[9, 8, 7], [128, 0, 0]]


def test_long_side_resizes_image_and_label_alike(tmp_path):
    make_set(tmp_path, sizes=((40, 20),))
    image, label = VocSet(tmp_path, "train", long_side=20).pair(0)
    assert image.shape == (20, 10, 3) and label.shape == (20, 10)
    full = VocSet(tmp_path, "train").label(0)
    np.testing.assert_array_equal(label, full[1::2, 1::2])
    image, label = VocSet(tmp_path, "train", long_side=80).pair(0)
    np.testing.assert_array_equal(label, np.repeat(np.repeat(full, 2, 0), 2, 1))


def test_shrinking_does_not_alias(tmp_path):
    make_set(tmp_path, sizes=((32, 32),))
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[::2] = 200
    Image.fromarray(stripes).save(tmp_path / "JPEGImages/im0.png")
    image = VocSet(tmp_path, "train", long_side=8).image(0)
    assert abs(image.astype(int)[1:-1] - 100).max() <= 10


def test_other_folders_and_flags_after_names(tmp_path):
    make_set(tmp_path)
    (tmp_path / "JPEGImages").rename(tmp_path / "photos")
    (tmp_path / "ImageSets/Segmentation/car_train.txt").write_text("im2  1\nim0 -1\n\n")
    assert VocSet(tmp_path, "car_train", images_folder="photos").names == ["im2", "im0"]


def break_split(root):
    (root / "ImageSets/Segmentation/train.txt").unlink()
    (root / "ImageSets/Segmentation/val.txt").write_text("im0")


BREAKS = {
    r"has no split 'train'[\s\S]*it has val": break_split,
    "the list is empty": lambda r: (r / "ImageSets/Segmentation/train.txt").write_text("\n"),
    "entry 2, 'im1', has no image": lambda r: (r / "JPEGImages/im1.png").unlink(),
    "entry 3, 'im2', has no label map": lambda r: (r / "SegmentationClass/im2.png").unlink(),
    "so no labels": lambda r: (r / "SegmentationClass").rename(r / "elsewhere"),
    r"meta.json[\s\S]*not valid JSON": lambda r: (r / "meta.json").write_text("{"),
    "not a JSON object": lambda r: (r / "meta.json").write_text(json.dumps([1])),
}


@pytest.mark.parametrize("message", BREAKS)
def test_a_broken_set_says_what_is_missing(tmp_path, message):
    BREAKS[message](make_set(tmp_path))
    with pytest.raises(DataError, match=message):
        VocSet(tmp_path, "train")


def test_a_folder_that_is_no_set(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        VocSet(tmp_path / "nowhere", "train")
    with pytest.raises(DataError, match="ImageSets"):
        VocSet(tmp_path, "train")


def test_sizes_that_differ_name_both_files(tmp_path):
    make_set(tmp_path)
    save_label(tmp_path / "SegmentationClass/im1.png", np.zeros((4, 6)))
    with pytest.raises(DataError, match=r"SegmentationClass/im1.png[\s\S]*6 x 4[\s\S]*JPEGImages"):
        VocSet(tmp_path, "train").pair(1)
