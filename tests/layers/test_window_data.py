import numpy as np
import pytest
from PIL import Image

import caffe_spn as caffe
from caffe_spn import DataError, PrototxtError
from caffe_spn.data.images import read_image, resize
from caffe_spn.data.window_crop import with_context
from caffe_spn.data.window_file import read_windows
from caffe_spn.io import array_to_blobproto
from caffe_spn.proto import caffe_pb2, text
from tests.golden_cases import case_id, cases, run_net

HEIGHT, WIDTH = 12, 17
FILE = """# 0
im0.png
3
12
17
3
2 0.9 3 2 8 7
5 0.3 0 0 16 11
1 0.5 10 4 15 9
# 1
im1.png
3 12 17
2
9 0.1 4 5 9 10
3 0.4 1 1 3 8
"""
# A window in the middle of image 0 as foreground, another in image 1 as background.
TWO = "# 0\nim0.png\n3 12 17\n1\n2 0.9 5 4 10 8\n# 1\nim1.png\n3 12 17\n1\n0 0 2 3 7 9\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for n in range(2):
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"im{n}.png")
    (tmp_path / "windows.txt").write_text(TWO)
    return tmp_path


def make_net(fields="batch_size: 4", transform="crop_size: 6", phase=caffe.TEST):
    definition = (
        'layer { name: "d" type: "WindowData" top: "data" top: "label"'
        f' window_data_param {{ source: "windows.txt" {fields} }}'
        f" transform_param {{ {transform} }} }}"
    )
    return caffe.Net(text.parse(definition, caffe_pb2.NetParameter()), phase)


def batches(net, count=1):
    out = []
    for _ in range(count):
        net.forward()
        out.append((net.blobs["data"].data.copy(), net.blobs["label"].data.copy()))
    net.close()
    return out


def c_round(value):
    return int(np.floor(abs(value) + 0.5) * np.sign(value))


def expected(image, box, size, context, square, mirrored=False):
    """Caffe's window by plain loops over the patch's pixels, (3, size, size)."""
    x1, y1, x2, y2 = box
    patch = np.zeros((3, size, size))
    half_w, half_h = (x2 - x1 + 1) / 2, (y2 - y1 + 1) / 2
    center_x, center_y = x1 + half_w, y1 + half_h
    if square:
        half_w = half_h = max(half_w, half_h)
    grow = size / (size - 2 * context)
    x1, x2 = c_round(center_x - half_w * grow), c_round(center_x + half_w * grow)
    y1, y2 = c_round(center_y - half_h * grow), c_round(center_y + half_h * grow)
    scale_x, scale_y = size / (x2 - x1 + 1), size / (y2 - y1 + 1)
    inside_x = range(max(x1, 0), min(x2, WIDTH - 1) + 1)
    inside_y = range(max(y1, 0), min(y2, HEIGHT - 1) + 1)
    outside_x = x2 - inside_x[-1] if mirrored else inside_x[0] - x1
    left, top = c_round(outside_x * scale_x), c_round((inside_y[0] - y1) * scale_y)
    width = min(c_round(len(inside_x) * scale_x), size - left)
    height = min(c_round(len(inside_y) * scale_y), size - top)
    part = resize(
        image[inside_y[0] : inside_y[-1] + 1, inside_x[0] : inside_x[-1] + 1], height, width
    )
    for h in range(height):
        for w in range(width):
            patch[:, top + h, left + w] = part[h, width - 1 - w if mirrored else w]
    return patch


@pytest.mark.parametrize("case", cases("data", types=("WindowData",)), ids=case_id)
def test_as_recorded_from_caffe(case, tmp_path):
    run_net(case, tmp_path)


def test_background_comes_first_and_objects_are_a_fixed_part(folder):
    [(data, labels)] = batches(make_net("batch_size: 7 fg_fraction: 0.3"))
    assert data.shape == (7, 3, 6, 6)
    np.testing.assert_array_equal(labels, [0, 0, 0, 0, 0, 2, 2])
    images = [read_image(f"im{n}.png") for n in range(2)]
    background = np.moveaxis(resize(images[1][3:10, 2:8], 6, 6), 2, 0)
    np.testing.assert_array_equal(data[0], background)
    np.testing.assert_array_equal(data[6], np.moveaxis(resize(images[0][4:9, 5:11], 6, 6), 2, 0))


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("context", [0, 1, 2])
@pytest.mark.parametrize("box", [(5, 4, 10, 8), (0, 0, 4, 9), (12, 7, 16, 11), (0, 3, 16, 4)])
def test_context_and_square_windows(folder, context, square, box):
    (folder / "windows.txt").write_text(TWO.replace("5 4 10 8", " ".join(map(str, box))))
    mode = 'crop_mode: "square"' if square else ""
    fields = f"batch_size: 1 fg_fraction: 1 context_pad: {context} {mode}"
    [(data, _)] = batches(make_net(fields, "crop_size: 7"))
    image = read_image("im0.png")
    if context or square:
        want = expected(image, box, 7, context, square)
    else:
        x1, y1, x2, y2 = box
        want = np.moveaxis(resize(image[y1 : y2 + 1, x1 : x2 + 1], 7, 7), 2, 0)
    np.testing.assert_array_equal(data[0], want)


def test_half_of_the_windows_are_mirrored_with_their_margin(folder):
    box = (12, 7, 16, 11)
    (folder / "windows.txt").write_text(TWO.replace("5 4 10 8", "12 7 16 11"))
    fields = "batch_size: 20 fg_fraction: 1 context_pad: 2"
    [(data, _)] = batches(make_net(fields, "crop_size: 9 mirror: true", caffe.TRAIN))
    image = read_image("im0.png")
    want = [expected(image, box, 9, 2, False, mirrored) for mirrored in (False, True)]
    found = [[(values == w).all() for w in want] for values in data]
    assert all(sum(f) == 1 for f in found)
    assert 3 < sum(f[1] for f in found) < 17


def test_mean_and_scale_leave_the_margin_zero(folder):
    (folder / "windows.txt").write_text(TWO.replace("5 4 10 8", "0 0 4 4"))
    fields = "batch_size: 1 fg_fraction: 1 context_pad: 2 scale: 0.5"
    [(plain, _)] = batches(make_net(fields, "crop_size: 8"))
    inside = (plain != 0).any(axis=1, keepdims=True)
    assert not inside.all()
    values = "mean_value: 10 mean_value: 20 mean_value: 30"
    [(data, _)] = batches(make_net(fields, f"crop_size: 8 {values}"))
    mean = np.array([10, 20, 30])[:, None, None]
    np.testing.assert_allclose(data, np.where(inside, plain - 0.5 * mean, 0))
    mean = np.random.default_rng(1).uniform(0, 255, (3, 13, 12)).astype(np.float32)
    (folder / "mean").write_bytes(array_to_blobproto(mean[None]).SerializeToString())
    [(data, _)] = batches(make_net(fields, 'crop_size: 8 mean_file: "mean"'))
    want = np.where(inside, plain - 0.5 * mean[:, 2:10, 2:10], 0)
    np.testing.assert_allclose(data, want, atol=1e-4)


def test_the_scale_of_transform_param_has_no_effect_and_says_so(folder):
    with pytest.warns(UserWarning, match="scale has no effect on WindowData"):
        net = make_net(transform="crop_size: 6 scale: 0.5")
    np.testing.assert_array_equal(batches(net)[0][0], batches(make_net())[0][0])


def test_thresholds_choose_foreground_and_background(folder):
    (folder / "windows.txt").write_text(FILE)
    found = read_windows("windows.txt", 0.5, 0.35)
    assert found.images == ["im0.png", "im1.png"]
    assert found.foreground.tolist() == [[0, 2, 3, 2, 8, 7], [0, 1, 10, 4, 15, 9]]
    assert found.background.tolist() == [[0, 0, 0, 0, 16, 11], [1, 0, 4, 5, 9, 10]]
    # 0.3 in the file and in the prototxt are the same float32.
    param = caffe_pb2.WindowDataParameter(fg_threshold=0.3)
    assert len(read_windows("windows.txt", param.fg_threshold, 0.35).foreground) == 4


def test_cached_files_and_the_root_folder(folder):
    want = batches(make_net())
    (folder / "windows.txt").write_text(TWO.replace("im", "m"))
    got = batches(make_net(f'batch_size: 4 root_folder: "{folder}/i" cache_images: true'))
    np.testing.assert_array_equal(got[0][0], want[0][0])


def test_a_resumed_run_equals_an_uninterrupted_one(folder):
    (folder / "windows.txt").write_text(FILE)
    net = make_net("batch_size: 3", "crop_size: 5 mirror: true")
    net.forward()
    state = net.layers[0].state()
    want = batches(net, 4)
    other = make_net("batch_size: 3", "crop_size: 5 mirror: true")
    other.layers[0].restore_state(state)
    for got, expected_batch in zip(batches(other, 4), want, strict=True):
        np.testing.assert_array_equal(got[0], expected_batch[0])
        np.testing.assert_array_equal(got[1], expected_batch[1])


def test_rounding_never_leaves_the_patch():
    rng = np.random.default_rng(0)
    for _ in range(500):
        x1, y1 = rng.integers(0, 40, 2)
        box = (x1, y1, x1 + rng.integers(0, 30), y1 + rng.integers(0, 30))
        size, context = int(rng.integers(5, 30)), int(rng.integers(0, 2))
        crop = with_context(box, (70, 70), size, context, bool(rng.integers(2)), False)
        assert crop.fits(70, 70)
        assert crop.top + crop.height <= size and crop.left + crop.width <= size


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "the window file is empty"),
        (TWO.replace("# 1", "# 2"), r"windows\.txt:6\n.*found '# 2', expected '# 1'"),
        (TWO.replace("12 17\n1\n2", "12 17\n2\n2", 1), r"windows\.txt:8\n.*should be a number"),
        (TWO[:-4], r"windows\.txt:10\n.*the file ends in the middle"),
        (TWO.replace("2 0.9", "0 0.9"), r"windows\.txt:5\n.*overlaps an object and has the class"),
        (TWO.replace("5 4 10", "5 4.5 10"), r"windows\.txt:5\n.*no whole number"),
        (TWO.replace("3 12 17", "1 12 17"), r"windows\.txt:4\n.*im0\.png has 1 channels"),
        (TWO.replace("17\n1\n2", "17\n-1\n2"), r"im0\.png has -1 windows"),
        (TWO.replace("3 12 17", "3 12.5 17"), "are whole numbers"),
    ],
)
def test_bad_window_files_name_the_line(folder, content, message):
    (folder / "windows.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        make_net()


@pytest.mark.parametrize("fields", ["batch_size: 4", "batch_size: 4 context_pad: 1"])
def test_a_window_outside_its_image_names_both(folder, fields):
    (folder / "windows.txt").write_text(TWO.replace("5 4 10 8", "30 4 35 8"))
    net = make_net(fields)
    with pytest.raises(DataError, match=r"layer 'd'.*im0\.png\n.*30 4 35 8 cannot be cut.*17 x 12"):
        net.forward()
    net.close()


@pytest.mark.parametrize("cache", ["false", "true"])
def test_a_missing_image_is_named(folder, cache):
    (folder / "im0.png").unlink()
    net = make_net(f"batch_size: 4 cache_images: {cache}")
    with pytest.raises(DataError, match=r"im0\.png\n.*no such image"):
        net.forward()
    net.close()


@pytest.mark.parametrize(
    "fields, transform, message",
    [
        ("batch_size: 0", "crop_size: 6", "batch_size is 0"),
        ("batch_size: 4", "", "has no crop_size"),
        ("batch_size: 4 crop_size: 6", "crop_size: 6", "has crop_size, which Caffe ignores"),
        ("batch_size: 4 context_pad: 3", "crop_size: 6", "leaves nothing of crop_size 6"),
        ('batch_size: 4 crop_mode: "round"', "crop_size: 6", "crop_mode is 'round'"),
        ("batch_size: 4 fg_fraction: 1.5", "crop_size: 6", "fg_fraction is 1.5"),
        ("batch_size: 4", "crop_size: 6 force_gray: true", "has force_gray"),
        ("batch_size: 4", "crop_size: 6 mean_value: 1 mean_value: 2", "has 2 mean_value"),
        ("batch_size: 4 fg_threshold: 0.95", "crop_size: 6", "needs 1 foreground window"),
        ("batch_size: 4 bg_threshold: 0", "crop_size: 6", "needs 3 background window"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(folder, fields, transform, message):
    with pytest.raises(PrototxtError, match=message):
        make_net(fields, transform)


def test_a_mean_image_must_fit(folder):
    mean = np.zeros((1, 3, 5, 9), np.float32)
    (folder / "mean").write_bytes(array_to_blobproto(mean).SerializeToString())
    with pytest.raises(PrototxtError, match=r"is \(3, 5, 9\).*a centre of 6 x 6"):
        make_net(transform='crop_size: 6 mean_file: "mean"')
    with pytest.raises(PrototxtError, match="at the same time"):
        make_net(transform='crop_size: 6 mean_file: "mean" mean_value: 1')


def test_no_window_file(folder):
    (folder / "windows.txt").unlink()
    with pytest.raises(DataError, match="no such window file"):
        make_net()
