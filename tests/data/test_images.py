import io

import numpy as np
import pytest
from PIL import Image

from caffe_spn import DataError
from caffe_spn.data import images
from tests.golden_cases import FOLDER, INDEX


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def save(array, path, **options):
    Image.fromarray(array).save(path, **options)
    return path


def test_colour_images_are_blue_green_red(tmp_path, rgb):
    path = save(rgb, tmp_path / "a.png")
    np.testing.assert_array_equal(images.read_image(path), rgb[:, :, ::-1])


def test_grey_files_give_three_equal_channels(tmp_path, rgb):
    path = save(rgb[:, :, 0], tmp_path / "a.png")
    np.testing.assert_array_equal(images.read_image(path), np.repeat(rgb[:, :, :1], 3, axis=2))


def test_grey_is_the_weighted_sum(tmp_path, rgb):
    want = rgb @ np.array([0.299, 0.587, 0.114])
    path = save(rgb, tmp_path / "a.bmp")
    np.testing.assert_allclose(images.read_image(path, color=False), want, atol=0.51)
    # libpng, which makes PNGs grey for OpenCV, cuts off.
    path = save(rgb, tmp_path / "a.png")
    np.testing.assert_allclose(images.read_image(path, color=False), want - 0.5, atol=0.51)


def test_grey_as_recorded_from_caffe():
    [case] = [c for c in INDEX if c["name"] == "imagedata_color_as_gray"]
    recorded = np.load(FOLDER / f"{case['name']}.npz")["out/data"]
    for n, want in enumerate(recorded):
        got = images.read_image(FOLDER / f"{case['name']}_{n}.png", color=False)
        np.testing.assert_array_equal(got, want[0])


def test_transparency_and_palettes_are_dropped(tmp_path, rgb):
    alpha = np.dstack([rgb, np.full(rgb.shape[:2], 9, np.uint8)])
    np.testing.assert_array_equal(
        images.read_image(save(alpha, tmp_path / "a.png")), rgb[:, :, ::-1]
    )
    Image.fromarray(rgb).quantize(64).save(tmp_path / "p.png")
    assert images.read_image(tmp_path / "p.png").shape == (5, 7, 3)


def test_sixteen_bits_keep_the_upper_byte(tmp_path):
    path = save(np.array([[0, 256, 65535]], np.uint16), tmp_path / "a.png")
    np.testing.assert_array_equal(images.read_image(path, color=False), [[0, 1, 255]])


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.zeros((8, 16, 3), np.uint8))
    image.save(tmp_path / "a.jpg", exif=exif)
    assert images.read_image(tmp_path / "a.jpg").shape == (16, 8, 3)


def test_jpeg_grey_is_its_luminance(tmp_path, rgb):
    big = np.repeat(np.repeat(rgb, 8, 0), 8, 1)
    path = save(big, tmp_path / "a.jpg", quality=95)
    with Image.open(path) as image:
        image.draft("L", image.size)
        want = np.asarray(image)
    np.testing.assert_array_equal(images.read_image(path, color=False), want)


def test_decode_image_keeps_the_channels_it_finds(rgb):
    for array, shape in ((rgb, (5, 7, 3)), (rgb[:, :, 0], (5, 7))):
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, "PNG")
        assert images.decode_image(stream.getvalue(), color=None).shape == shape


def test_a_bad_image_names_itself(tmp_path, rgb):
    with pytest.raises(DataError, match="no such image"):
        images.read_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(DataError, match=r"text\.png"):
        images.read_image(tmp_path / "text.png")
    path = save(np.repeat(rgb, 50, 0), tmp_path / "cut.png")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=r"cut\.png[\s\S]*cannot be decoded"):
        images.read_image(path)


def test_a_huge_claim_is_refused_before_decoding(tmp_path, monkeypatch, rgb):
    path = save(rgb, tmp_path / "a.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 34)
    with pytest.raises(DataError, match="claims 7 x 5 pixels"):
        images.read_image(path)


def test_labels_are_indices_not_colours(tmp_path):
    label = np.array([[0, 1, 255], [3, 2, 1]], np.uint8)
    image = Image.fromarray(label).convert("P")
    image.putdata(label.ravel().tolist())
    image.putpalette([200, 100, 50] * 256)
    image.save(tmp_path / "p.png")
    save(label, tmp_path / "l.png")
    for name in ("p.png", "l.png"):
        np.testing.assert_array_equal(images.read_label(tmp_path / name), label)


def test_labels_of_one_bit_and_of_sixteen(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "one.png")
    np.testing.assert_array_equal(images.read_label(tmp_path / "one.png"), [[1, 0]])
    save(np.array([[7, 255]], np.uint16), tmp_path / "many.png")
    np.testing.assert_array_equal(images.read_label(tmp_path / "many.png"), [[7, 255]])
    save(np.array([[7, 256]], np.uint16), tmp_path / "wide.png")
    with pytest.raises(DataError, match="values from 7 to 256"):
        images.read_label(tmp_path / "wide.png")


def test_a_coloured_label_map_is_refused(tmp_path, rgb):
    with pytest.raises(DataError, match="holds colours"):
        images.read_label(save(rgb, tmp_path / "a.png"))
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read as a label map"):
        images.read_label(tmp_path / "b.png")


def bilinear(image, height, width):
    """Half-pixel bilinear interpolation with clamped borders, one value after the other."""
    out = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * image.shape[0] / height - 0.5, 0), image.shape[0] - 1)
            x = min(max((j + 0.5) * image.shape[1] / width - 0.5, 0), image.shape[1] - 1)
            t, l = int(y), int(x)
            b, r = min(t + 1, image.shape[0] - 1), min(l + 1, image.shape[1] - 1)
            upper = image[t, l] * (1 - x + l) + image[t, r] * (x - l)
            lower = image[b, l] * (1 - x + l) + image[b, r] * (x - l)
            out[i, j] = upper * (1 - y + t) + lower * (y - t)
    return out


@pytest.mark.parametrize("size", [(5, 7), (10, 14), (3, 4), (11, 3), (1, 1), (2, 9)])
def test_resize_is_bilinear_to_rounding(rgb, size):
    got = images.resize(rgb, *size)
    assert got.dtype == np.uint8
    for c in range(3):
        want = bilinear(rgb[:, :, c].astype(float), *size)
        np.testing.assert_allclose(got[:, :, c], want, atol=1.01)
    np.testing.assert_array_equal(images.resize(rgb[:, :, 1], *size), got[:, :, 1])


def one_pixel(image, size, y, x) -> int:
    """Pixel (y, x) of a grey image resized to `size`: OpenCV's arithmetic, one number at a time."""
    parts = []
    for at, new, old in ((y, size[0], image.shape[0]), (x, size[1], image.shape[1])):
        position = np.float32((at + 0.5) * (1 / (new / old)) - 0.5)
        first = int(np.floor(position))
        behind = np.float32(position - np.float32(first))
        parts.append((first, [round(float(np.float32(w) * 2048)) for w in (1 - behind, behind)]))
    (top, down), (left, right) = parts
    last_row, last_column = image.shape[0] - 1, image.shape[1] - 1
    total = 2
    for row, weight in zip((top, top + 1), down, strict=True):
        line = image[min(max(row, 0), last_row)].astype(int)
        if 0 <= left < last_column:
            across = line[left] * right[0] + line[left + 1] * right[1]
        else:
            across = line[min(max(left, 0), last_column)] * 2048
        total += ((across >> 4) * weight) >> 16
    return total >> 2


SIZES = [(19, 41), (50, 7), (7, 50), (1, 1), (23, 60), (33, 31)]


@pytest.fixture
def grey():
    return np.random.default_rng(5).integers(0, 256, (23, 31), dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES)
def test_resize_rounds_as_opencv_does(grey, size):
    expected = [[one_pixel(grey, size, y, x) for x in range(size[1])] for y in range(size[0])]
    np.testing.assert_array_equal(images.resize(grey, *size), expected)


def test_resize_is_opencvs_to_the_bit(grey):
    cv2 = pytest.importorskip("cv2")
    for size in [*SIZES, (11, 15)]:
        np.testing.assert_array_equal(images.resize(grey, *size), cv2.resize(grey, size[::-1]))
    half = cv2.resize(grey[:22, :30], (15, 11))
    np.testing.assert_array_equal(images.resize(grey[:22, :30], 11, 15), half)


def test_resize_keeps_constants_and_halves_exactly():
    assert (images.resize(np.full((3, 5), 255, np.uint8), 8, 9) == 255).all()
    image = np.array([[10, 20], [30, 40]], np.uint8)
    assert images.resize(image, 1, 1) == 25
