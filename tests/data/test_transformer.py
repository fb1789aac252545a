import io

import numpy as np
import pytest
from PIL import Image

from caffe_spn import TEST, TRAIN, DataError, PrototxtError
from caffe_spn.data.transformer import DataTransformer, datum_image, read_mean
from caffe_spn.io import array_to_blobproto, array_to_datum
from caffe_spn.proto import caffe_pb2


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (3, 7, 9), dtype=np.uint8)


def transformer(phase=TEST, **fields):
    return DataTransformer(caffe_pb2.TransformationParameter(**fields), phase, "layer 'd'")


def write_mean(path, mean):
    path.write_bytes(array_to_blobproto(mean[None]).SerializeToString())
    return str(path)


def test_without_parameters_it_is_the_image_as_floats(image):
    got = transformer().transform(image)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, image)


def test_mean_comes_before_scale(image):
    got = transformer(mean_value=[100.0], scale=0.5).transform(image)
    np.testing.assert_allclose(got, (image - 100.0) * 0.5)
    got = transformer(mean_value=[10, 20, 30]).transform(image)
    np.testing.assert_allclose(got, image - np.array([10.0, 20, 30])[:, None, None])


@pytest.mark.parametrize("crop, top, left", [(4, 1, 2), (5, 1, 2), (7, 0, 1)])
def test_in_testing_the_crop_and_its_mean_are_central(tmp_path, image, crop, top, left):
    mean = np.random.default_rng(1).random((3, 7, 9)) * 100
    file = write_mean(tmp_path / "mean.binaryproto", mean)
    t = transformer(crop_size=crop, mean_file=file)
    assert t.shape(image) == (3, crop, crop)
    want = (image - mean)[:, top : top + crop, left : left + crop]
    np.testing.assert_allclose(t.transform(image), want, rtol=1e-5, atol=1e-4)


def test_in_training_crops_lie_anywhere_and_mirrors_are_half(tmp_path):
    place = np.arange(42.0).reshape(1, 6, 7)
    t = transformer(TRAIN, crop_size=4, mirror=True)
    rng = np.random.default_rng(0)
    seen, mirrored = set(), 0
    for _ in range(400):
        got = t.transform(place, rng)[0]
        flipped = got[0, 1] < got[0, 0]
        got = got[:, ::-1] if flipped else got
        top, left = divmod(int(got[0, 0]), 7)
        np.testing.assert_array_equal(got, place[0, top : top + 4, left : left + 4])
        seen.add((top, left))
        mirrored += flipped
    assert seen == {(i, j) for i in range(3) for j in range(4)}
    assert 150 < mirrored < 250


def test_the_mean_is_that_of_the_place_before_the_mirror(tmp_path, image):
    mean = np.random.default_rng(1).random((3, 7, 9)) * 100
    t = transformer(mirror=True, mean_file=write_mean(tmp_path / "m", mean))
    rng = np.random.default_rng(0)
    for _ in range(4):
        got = t.transform(image, rng)
        plain = image - mean.astype(np.float32)
        assert (got == plain).all() or (got == plain[:, :, ::-1]).all()


def test_images_that_do_not_fit_are_refused(tmp_path, image):
    with pytest.raises(DataError, match=r"a.png[\s\S]*9 x 7 \(w x h\) is smaller than crop_size 8"):
        transformer(crop_size=8).transform(image, name="a.png")
    with pytest.raises(DataError, match=r"mean values of shape \(2, 1, 1\)"):
        transformer(mean_value=[1, 2]).transform(image)
    mean = write_mean(tmp_path / "m", np.zeros((3, 7, 8)))
    with pytest.raises(DataError, match=r"a mean image of shape \(3, 7, 8\)"):
        transformer(mean_file=mean).transform(image)


def test_contradicting_parameters_are_refused():
    with pytest.raises(PrototxtError, match="mean_file and mean_value at the same time"):
        transformer(mean_file="x", mean_value=[1])
    with pytest.raises(PrototxtError, match="both force_color and force_gray"):
        transformer(force_color=True, force_gray=True)


def test_mean_files_of_either_generation_and_bad_ones(tmp_path):
    mean = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    old = caffe_pb2.BlobProto(num=1, channels=3, height=2, width=2, data=mean.ravel())
    (tmp_path / "old").write_bytes(old.SerializeToString())
    np.testing.assert_array_equal(read_mean(tmp_path / "old"), mean)
    np.testing.assert_array_equal(read_mean(write_mean(tmp_path / "new", mean)), mean)
    with pytest.raises(DataError, match="no such mean file"):
        read_mean(tmp_path / "none")
    (tmp_path / "text").write_bytes(b"\xff\xff\xff")
    with pytest.raises(DataError, match="not a mean image in binary"):
        read_mean(tmp_path / "text")
    old.channels = 4
    (tmp_path / "short").write_bytes(old.SerializeToString())
    with pytest.raises(DataError, match=r"holds 12 values for the shape \(1, 4, 2, 2\)"):
        read_mean(tmp_path / "short")


def encoded(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return caffe_pb2.Datum(encoded=True, data=stream.getvalue(), label=3)


def test_datums_of_bytes_floats_and_files(image):
    np.testing.assert_array_equal(datum_image(array_to_datum(image)), image)
    floats = datum_image(array_to_datum(image / 7.0))
    np.testing.assert_allclose(floats, image / 7.0, rtol=1e-6)
    rgb = np.moveaxis(image, 0, 2)
    np.testing.assert_array_equal(datum_image(encoded(rgb)), image[::-1])
    assert datum_image(encoded(rgb), force_gray=True).shape == (1, 7, 9)
    assert datum_image(encoded(rgb[:, :, 0])).shape == (1, 7, 9)
    assert datum_image(encoded(rgb[:, :, 0]), force_color=True).shape == (3, 7, 9)
    got = transformer(force_gray=True, scale=2).transform_datum(encoded(rgb))
    np.testing.assert_array_equal(got, 2.0 * datum_image(encoded(rgb), force_gray=True))


def test_a_datum_of_the_wrong_size_is_refused(image):
    datum = array_to_datum(image)
    datum.height = 8
    with pytest.raises(DataError, match=r"\(3, 8, 9\) holds 189 values"):
        datum_image(datum)
    with pytest.raises(DataError, match="cannot be decoded"):
        datum_image(caffe_pb2.Datum(encoded=True, data=b"no image"))
