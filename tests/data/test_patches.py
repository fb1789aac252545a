import numpy as np
import pytest
from PIL import Image

from caffe_spn import DataError
from caffe_spn.data import patches
from caffe_spn.data.coarse_files import CoarseFolder
from caffe_spn.data.patches import PatchOptions, PatchSource
from caffe_spn.data.voc import VocSet

from .tiny_sets import make_set, save_label

STILL = dict(scale_min=1.0, scale_max=1.0, rotation=0.0, mirror=False)
P = 24


def source(root, seed=1, coarse=None, **options):
    settings = dict(num_classes=3, batch_size=4, patch_size=P, patches_per_image=2) | options
    return PatchSource(VocSet(root, "train"), PatchOptions(**settings), seed, coarse)


def gather(values, rows, columns, outside):
    """Values at whole-numbered positions, one after the other."""
    out = np.empty((rows.size, columns.size, *values.shape[2:]), float)
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            inside = 0 <= y < values.shape[0] and 0 <= x < values.shape[1]
            out[i, j] = values[y, x] if inside else outside
    return out


def find(image, label, patch, outside):
    """The corner where an unturned patch was cut out of an image."""
    for top in range(min(0, label.shape[0] - P), max(0, label.shape[0] - P) + 1):
        for left in range(min(0, label.shape[1] - P), max(0, label.shape[1] - P) + 1):
            rows, columns = np.arange(top, top + P), np.arange(left, left + P)
            want = gather(image.astype(float), rows, columns, outside)
            if np.allclose(patch, want, atol=1e-3):
                return rows, columns
    raise AssertionError("the patch is no part of the image")


@pytest.mark.parametrize("mirror", [False, True])
def test_unturned_patches_are_cut_out_of_image_and_label(tmp_path, mirror):
    # The second image is smaller than the patch along both axes, the third along one.
    root = make_set(tmp_path, sizes=((40, 30), (18, 20), (20, 40)))
    src = source(root, **STILL | dict(mirror=mirror), mean=(5.0, 6.0, 7.0), image_scale=0.5)
    voc, mirrored = src.voc, 0
    for k in range(3):
        images, _, labels = src.batch(k)
        for n in range(4):
            pixels = np.moveaxis(images[n], 0, 2) / 0.5 + np.array([5.0, 6.0, 7.0])
            for index in range(3):
                image, label = voc.pair(index)
                try:
                    place = find(image, label, pixels, (5, 6, 7))
                    got = labels[n, 0]
                except AssertionError:
                    try:
                        place = find(image, label, pixels[:, ::-1], (5, 6, 7))
                        got = labels[n, 0][:, ::-1]
                        mirrored += 1
                    except AssertionError:
                        continue
                np.testing.assert_array_equal(got, gather(label, *place, 255))
                break
            else:
                raise AssertionError("the patch is in no image")
    assert (0 < mirrored < 12) if mirror else mirrored == 0


def test_every_patch_has_more_than_one_label(tmp_path):
    label = np.zeros((90, 90), np.uint8)
    label[3, 4] = 1
    label[60:, 60:] = 255
    src = source(make_set(tmp_path, sizes=((90, 90),), labels=[label]))
    for k in range(30):
        labels = src.batch(k)[2]
        assert all(len(np.unique(p[p != 255])) > 1 for p in labels)


def test_places_are_all_those_with_two_labels(tmp_path):
    rng = np.random.default_rng(0)
    label = np.where(rng.random((30, 26)) < 0.01, 1, 0).astype(np.uint8)
    label[:12, 20:] = 255
    want = [
        top * (26 - 8 + 1) + left
        for top in range(30 - 8 + 1)
        for left in range(26 - 8 + 1)
        if len(set(label[top : top + 8, left : left + 8].ravel().tolist()) - {255}) > 1
    ]
    assert patches._places(label, 8, 255).tolist() == want and want


def test_turning_and_scaling_stay_in_their_ranges(tmp_path):
    """A disc keeps its shape; its radius tells the scale, a mark beside it the angle."""
    y, x = np.mgrid[:120, :120] - 59.5
    label = (np.hypot(y, x) < 40).astype(np.uint8)
    label[(np.hypot(y, x - 30) < 5)] = 2
    root = make_set(tmp_path, sizes=((120, 120),), labels=[label])
    src = source(root, batch_size=40, patch_size=119, mirror=False, coarse_noise=0.0)
    _, _, labels = src.batch(0)
    radii, angles = [], []
    for patch in labels[:, 0]:
        inside = (patch > 0) & (patch != 255)
        rows, columns = np.nonzero(inside)
        radii.append(np.sqrt(inside.sum() / np.pi) / 40)
        marked = np.nonzero(patch == 2)
        down, right = marked[0].mean() - rows.mean(), marked[1].mean() - columns.mean()
        angles.append(np.degrees(np.arctan2(down, right)))
    assert 0.88 < min(radii) < 0.93 and 1.07 < max(radii) < 1.12
    assert -17 < min(angles) < -10 and 10 < max(angles) < 17


def test_turning_moves_image_label_and_coarse_together(tmp_path):
    root = make_set(tmp_path, sizes=((60, 70), (64, 50)))
    (root / "prob").mkdir()
    voc = VocSet(root, "train")
    for n, name in enumerate(voc.names):
        label = voc.label(n)
        np.save(root / f"prob/{name}.npy", np.eye(3, dtype=np.float32)[label].transpose(2, 0, 1))
        grey = np.repeat(label[..., None] * 100, 3, 2)
        Image.fromarray(grey).save(root / f"JPEGImages/{name}.png")
    src = source(root, coarse=CoarseFolder(root / "prob", 3), shift=0, rotation=40.0)
    for k in range(5):
        images, coarse, labels = src.batch(k)
        known = labels != 255
        share = (images[:, :1] / 100).round() == labels
        assert share[known].mean() > 0.97
        assert (coarse.argmax(axis=1)[:, None] == labels)[known].mean() > 0.97
        np.testing.assert_allclose(coarse.sum(axis=1), 1, atol=1e-5)


def test_made_coarse_maps_follow_the_labels(tmp_path):
    src = source(make_set(tmp_path, sizes=((90, 90),)), patch_size=64, batch_size=8)
    _, coarse, labels = src.batch(0)
    assert coarse.shape == (8, 3, 64, 64)
    np.testing.assert_allclose(coarse.sum(axis=1), 1, atol=1e-5)
    known = labels != 255
    right = (coarse.argmax(axis=1)[:, None] == labels)[known].mean()
    assert 0.75 < right < 0.995


def test_a_coarse_map_of_low_resolution_is_enlarged(tmp_path):
    root = make_set(tmp_path, sizes=((48, 48),))
    (root / "prob").mkdir()
    ramp = np.linspace(0, 1, 6, dtype=np.float32)[None, :].repeat(6, 0)
    np.save(root / "prob/im0.npy", np.stack([ramp, 1 - ramp, 0 * ramp]))
    src = source(root, coarse=CoarseFolder(root / "prob", 3), shift=0, patch_size=48, **STILL)
    coarse = src.batch(0)[1][0]
    x = np.clip((np.arange(48) + 0.5) / 8 - 0.5, 0, 5) / 5
    np.testing.assert_allclose(coarse[0], x[None].repeat(48, 0), atol=1e-5)


def test_batches_depend_on_seed_and_number_only(tmp_path, monkeypatch):
    root = make_set(tmp_path)
    one, other = source(root), source(root)
    in_order = [one.batch(k) for k in range(5)]
    monkeypatch.setattr(patches, "CACHE_BYTES", 1)  # nothing stays
    for k in (3, 0, 4):
        for got, want in zip(other.batch(k), in_order[k], strict=True):
            np.testing.assert_array_equal(got, want)
    assert len(other._cache) == 1
    assert (source(root, seed=2).batch(0)[0] != in_order[0][0]).any()


def test_each_epoch_uses_each_image_once(tmp_path, monkeypatch):
    root = make_set(tmp_path, sizes=((30, 30),) * 5)
    src = source(root, batch_size=5, patches_per_image=1)
    loaded = []
    load = src._load
    monkeypatch.setattr(src, "_load", lambda index: loaded.append(index) or load(index))
    for k in range(4):
        src.batch(k)
    epochs = [loaded[5 * k : 5 * k + 5] for k in range(4)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_images_of_one_label_are_skipped(tmp_path):
    flat = np.full((30, 30), 255, np.uint8)
    flat[5:9] = 1
    useful = np.zeros((30, 30), np.uint8)
    useful[15:] = 2
    root = make_set(tmp_path, sizes=((30, 30),) * 3, labels=[flat, useful, flat])
    for k in range(4):
        labels = source(root).batch(k)[2]
        assert set(np.unique(labels)) <= {0, 2, 255}
    save_label(root / "SegmentationClass/im1.png", flat)
    with pytest.raises(DataError, match=r"train\.txt[\s\S]*no image has a 24 x 24 patch"):
        source(root).batch(0)


def test_bad_labels_and_coarse_maps_name_their_file(tmp_path):
    root = make_set(tmp_path, sizes=((30, 30),), num_classes=4)
    with pytest.raises(DataError, match=r"im0\.png[\s\S]*pixels of label 3; 3 classes"):
        source(root).batch(0)
    (root / "prob").mkdir()
    np.save(root / "prob/im0.npy", np.zeros((5, 2, 2)))
    with pytest.raises(DataError, match=r"im0\.npy[\s\S]*that is 5 classes;"):
        source(root, num_classes=4, coarse=CoarseFolder(root / "prob", 4)).batch(0)
