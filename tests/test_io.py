import numpy as np
import pytest
from PIL import Image

from caffe_spn import DataError, io
from caffe_spn.proto import caffe_pb2


@pytest.fixture
def image():
    return np.random.default_rng(0).random((6, 8, 3)).astype(np.float32)


# Arrays and messages


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 2, 3, 4), (2, 1, 2, 1, 3)])
def test_blobproto_round_trip(shape):
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    blob = io.array_to_blobproto(values, diff=values * 2)
    assert tuple(blob.shape.dim) == shape
    np.testing.assert_array_equal(io.blobproto_to_array(blob), values)
    np.testing.assert_array_equal(io.blobproto_to_array(blob, return_diff=True), values * 2)


def test_legacy_dimensions_and_doubles():
    blob = caffe_pb2.BlobProto(num=1, channels=2, height=1, width=3, double_data=range(6))
    assert io.blobproto_to_array(blob).tolist() == [[[[0, 1, 2]], [[3, 4, 5]]]]
    blob.width = 4
    with pytest.raises(DataError, match=r"shape \(1, 2, 1, 4\) holds 6 values"):
        io.blobproto_to_array(blob)


def test_vectors_of_blobs_round_trip():
    arrays = [np.arange(4.0), np.ones((2, 3))]
    text = io.arraylist_to_blobprotovector_str(arrays)
    assert isinstance(text, bytes)
    for got, want in zip(io.blobprotovector_str_to_arraylist(text), arrays, strict=True):
        np.testing.assert_array_equal(got, want)


def test_datum_round_trip():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    datum = io.array_to_datum(pixels, label=7)
    assert (datum.channels, datum.height, datum.width, datum.label) == (2, 3, 4, 7)
    assert datum.data == pixels.tobytes() and not datum.float_data
    np.testing.assert_array_equal(io.datum_to_array(datum), pixels)
    floats = io.datum_to_array(io.array_to_datum(pixels / 2))
    assert floats.dtype == np.float64
    np.testing.assert_array_equal(floats, pixels / 2)


def test_bad_datums_are_refused():
    with pytest.raises(DataError, match="Incorrect array shape"):
        io.array_to_datum(np.zeros((2, 2)))
    with pytest.raises(DataError, match="image file"):
        io.datum_to_array(caffe_pb2.Datum(encoded=True, data=b"x"))
    with pytest.raises(DataError, match="holds 1 values"):
        io.datum_to_array(caffe_pb2.Datum(channels=1, height=2, width=2, data=b"x"))


# Images


def test_load_image_gives_red_green_blue_from_0_to_1(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 4), dtype=np.uint8)
    Image.fromarray(pixels[:, :, :3]).save(tmp_path / "rgb.png")
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "grey.png")
    want = pixels[:, :, :3] / np.float32(255)
    for name in ("rgb.png", "rgba.png"):
        got = io.load_image(tmp_path / name)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(io.load_image(tmp_path / "grey.png"), want[:, :, [0, 0, 0]])
    np.testing.assert_allclose(io.load_image(tmp_path / "grey.png", color=False), want[:, :, :1])
    grey = io.load_image(tmp_path / "rgb.png", color=False)
    np.testing.assert_allclose(grey[:, :, 0], want @ [0.2125, 0.7154, 0.0721], rtol=1e-5)


def test_load_image_names_a_bad_file(tmp_path):
    with pytest.raises(DataError, match=r"none.png[\s\S]*no such image"):
        io.load_image(tmp_path / "none.png")
    (tmp_path / "bad.png").write_text("text")
    with pytest.raises(DataError, match=r"bad.png[\s\S]*cannot be read as an image"):
        io.load_image(tmp_path / "bad.png")


def expected_resize(im, height, width):
    """Bilinear between pixel centres; outside the image lies its minimum."""
    low = im.min()
    padded = np.pad(im - low, ((1, 1), (1, 1), (0, 0))) + low
    out = np.empty((height, width, im.shape[2]))
    for i in range(height):
        for j in range(width):
            y = (i + 0.5) * im.shape[0] / height + 0.5
            x = (j + 0.5) * im.shape[1] / width + 0.5
            t, l = int(y), int(x)
            upper = padded[t, l] * (1 - x + l) + padded[t, l + 1] * (x - l)
            lower = padded[t + 1, l] * (1 - x + l) + padded[t + 1, l + 1] * (x - l)
            out[i, j] = upper * (1 - y + t) + lower * (y - t)
    return out


@pytest.mark.parametrize("size", [(3, 4), (6, 8), (4, 5), (5, 3)])
def test_resize_image_is_bilinear_without_smoothing(image, size):
    got = io.resize_image(image, size)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected_resize(image, *size), atol=1e-5)


def test_resize_image_of_other_channels_keeps_the_corners(image):
    many = np.concatenate([image, image], axis=2)
    got = io.resize_image(many, (11, 15))
    assert got.shape == (11, 15, 6)
    np.testing.assert_allclose(
        got[[0, 0, -1, -1], [0, -1, 0, -1]], many[[0, 0, -1, -1], [0, -1, 0, -1]]
    )


def test_resize_image_keeps_a_constant():
    got = io.resize_image(np.full((3, 3, 1), 7.0), (5, 4))
    np.testing.assert_array_equal(got, np.full((5, 4, 1), 7, np.float32))


def test_oversample_has_corners_centre_and_mirrors(image):
    second = 1 - image
    crops = io.oversample([image, second], (3, 5))
    assert crops.shape == (20, 3, 5, 3) and crops.dtype == np.float32
    places = [(0, 0), (0, 3), (3, 0), (3, 3), (1, 1)]
    for n, im in enumerate((image, second)):
        for i, (top, left) in enumerate(places):
            want = im[top : top + 3, left : left + 5]
            np.testing.assert_array_equal(crops[10 * n + i], want)
            np.testing.assert_array_equal(crops[10 * n + 5 + i], want[:, ::-1])
    with pytest.raises(DataError, match="7 x 2 do not fit into images of 6 x 8"):
        io.oversample([image], (7, 2))


def test_what_pycaffes_module_imports_is_reached_through_it(image):
    assert io.resize(image, (3, 4)).shape == (3, 4, 3)
    assert io.skimage.img_as_float(image.astype(np.uint8)).dtype == np.float64
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        io.nothing  # noqa: B018


# Transformer


@pytest.fixture
def transformer():
    t = io.Transformer({"data": (1, 3, 6, 8)})
    t.set_transpose("data", (2, 0, 1))
    t.set_channel_swap("data", (2, 1, 0))
    t.set_raw_scale("data", 255)
    t.set_mean("data", np.array([1.0, 2.0, 3.0]))
    t.set_input_scale("data", 0.5)
    return t


def test_preprocess_in_caffes_order(transformer, image):
    before = image.copy()
    got = transformer.preprocess("data", image)
    want = (image.transpose(2, 0, 1)[::-1] * 255 - np.array([1, 2, 3])[:, None, None]) * 0.5
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(image, before)


def test_deprocess_is_the_inverse(transformer, image):
    blob = transformer.preprocess("data", image)[None]
    np.testing.assert_allclose(transformer.deprocess("data", blob), image, atol=1e-5)


def test_preprocess_resizes_to_the_input(transformer, image):
    big = np.repeat(np.repeat(image, 2, 0), 2, 1)
    np.testing.assert_allclose(
        transformer.preprocess("data", big), transformer.preprocess("data", image), atol=1e-3
    )


def test_without_settings_only_the_type_changes(image):
    t = io.Transformer({"data": (1, 3, 6, 8)})
    np.testing.assert_array_equal(t.preprocess("data", image.astype(float)), image)
    t.set_mean("data", np.ones(3))
    t.set_mean("data", None)
    np.testing.assert_array_equal(t.preprocess("data", image), image)


def test_mean_images_are_resized_where_they_must_be(image):
    t = io.Transformer({"data": (1, 3, 6, 8)})
    exact = image.transpose(2, 0, 1)
    t.set_mean("data", exact)
    assert t.mean["data"] is exact
    t.set_mean("data", np.repeat(np.repeat(exact, 2, 1), 2, 2))
    np.testing.assert_allclose(t.mean["data"], exact, atol=1e-5)
    t.set_mean("data", np.full((12, 16), 5.0))
    np.testing.assert_array_equal(t.mean["data"], np.full((1, 6, 8), 5))


BAD_SETTINGS = [
    ("set_transpose", ("data", (1, 0)), "Transpose order needs"),
    ("set_channel_swap", ("data", (1, 0)), "Channel swap needs"),
    ("set_mean", ("data", np.zeros(2)), "Mean channels incompatible"),
    ("set_mean", ("data", np.zeros((1, 3, 6, 8))), "Mean shape invalid"),
    ("set_mean", ("data", np.zeros((2, 6, 8))), "incompatible with input shape"),
    ("set_raw_scale", ("x", 1), "x is not one of the net inputs"),
    ("preprocess", ("x", np.zeros((2, 2, 3))), "x is not one of the net inputs"),
]


@pytest.mark.parametrize("method, arguments, message", BAD_SETTINGS)
def test_bad_settings_are_refused(transformer, method, arguments, message):
    with pytest.raises(DataError, match=message):
        getattr(transformer, method)(*arguments)
