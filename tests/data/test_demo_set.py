"""The demo's data set: real pictures, true masks, nothing shared between training and held out."""

import numpy as np
import pytest

from caffe_spn.data import demo_set
from caffe_spn.data.voc import VocSet


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return demo_set.write_demo_set(tmp_path_factory.mktemp("demo"))


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_picture_has_both_classes_and_nothing_else(folder, split):
    pictures = VocSet(folder, split)
    assert pictures.class_names == ["background", "foreground"]
    for index in range(len(pictures)):
        image, label = pictures.pair(index)
        assert image.std() > 20
        assert {0, 1} <= set(np.unique(label)) <= {0, 1, demo_set.IGNORE}


def test_held_out_regions_are_not_trained_on(folder):
    train, val = VocSet(folder, "train"), VocSet(folder, "val")
    assert set(train.names).isdisjoint(val.names)
    whole, _ = demo_set.motorcycle()
    rear = train.image(train.names.index("motorcycle_rear")).shape[1]
    front = val.image(val.names.index("motorcycle_front")).shape[1]
    assert rear + front < whole.shape[1]
    left = train.image(train.names.index("coins_left")).shape[1]
    right = val.image(val.names.index("coins_right")).shape[1]
    assert left + right == demo_set.coins()[0].shape[1]


def test_the_motorcycle_stands_on_the_floor_and_before_the_wall():
    _, mask = demo_set.motorcycle()
    known = {"tank": (210, 430), "seat": (200, 280), "rear tyre": (340, 137), "engine": (335, 370)}
    for name, place in known.items():
        assert mask[place] == 1, name
    for name, place in {"floor": (450, 250), "wall": (30, 240), "box": (60, 560)}.items():
        assert mask[place] == 0, name
    assert 0.2 < (mask == 1).mean() < 0.35


def test_every_coin_is_one_part_of_the_mask():
    from scipy import ndimage

    _, mask = demo_set.coins()
    assert ndimage.label(mask)[1] == 24
