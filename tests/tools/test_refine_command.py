"""caffe-spn refine: real pictures in, label maps, probabilities and pictures out."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

import caffe_spn as caffe
from caffe_spn.data.coarse import make_coarse, resize_coarse
from caffe_spn.refine import refine
from caffe_spn.tools import main as cli
from tests.test_refine import COPY, STRIDED
from tests.tools.cli import caffe_spn

SIZE = (70, 101)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with nets, weights, two photographs, coarse maps and the truth."""
    folder = tmp_path_factory.mktemp("refine")
    (folder / "copy.prototxt").write_text(COPY)
    (folder / "deploy.prototxt").write_text(STRIDED)
    caffe.set_random_seed(1)
    caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST).save(str(folder / "spn.caffemodel"))
    for name in ("images", "coarse", "truth"):
        (folder / name).mkdir()
    for name, picture, suffix in (("cat", data.chelsea(), ".jpg"), ("cup", data.coffee(), ".png")):
        picture = picture[: SIZE[0], : SIZE[1]]
        labels = (picture[:, :, 0] > picture[:, :, 0].mean()).astype(np.uint8)
        Image.fromarray(picture).save(folder / "images" / (name + suffix))
        coarse = make_coarse(labels, 2, np.random.default_rng(0))
        np.save(folder / "coarse" / f"{name}.npy", coarse)
        Image.fromarray(labels).save(folder / "truth" / f"{name}.png")
    return folder


@pytest.fixture
def run(work, tmp_path, monkeypatch, capsys):
    """Runs the command in the folder; returns exit code, output, errors and where results are."""
    monkeypatch.chdir(work)

    def run(*arguments, model="deploy.prototxt"):
        words = ["--model", model, "--weights", "spn.caffemodel", "-o", str(tmp_path / "out")]
        code = cli.main(["refine", *words, *map(str, arguments)])
        return code, *capsys.readouterr(), tmp_path / "out"

    return run


def labels_of(path):
    with Image.open(path) as image:
        assert image.mode == "P"
        return np.asarray(image)


def test_one_picture(work, tmp_path):
    out = tmp_path / "deep" / "out"
    arguments = ("refine", "--model", "deploy.prototxt", "--weights", "spn.caffemodel")
    files = ("images/cat.jpg", "coarse/cat.npy", "-o", out, "--truth", "truth/cat.png")
    result = caffe_spn(work, *arguments, *files)
    assert result.returncode == 0, result.stderr
    assert "images/cat.jpg: 101 x 70, in one piece, 104 x 72, about" in result.stderr
    assert result.stdout.startswith("images/cat.jpg: accuracy 0.")
    assert "mean IoU 0." in result.stdout

    assert {path.name for path in out.iterdir()} == {"cat.png", "cat.npz", "cat_compare.png"}
    prob = np.load(out / "cat.npz")["prob"]
    net = caffe.Net(str(work / "deploy.prototxt"), caffe.TEST, weights=str(work / "spn.caffemodel"))
    with Image.open(work / "images/cat.jpg") as image:
        pixels = np.asarray(image)[:, :, ::-1]
    expected = refine(net, pixels, np.load(work / "coarse/cat.npy"))
    assert prob.dtype == np.float16
    np.testing.assert_allclose(prob, expected, atol=1e-3)
    np.testing.assert_array_equal(labels_of(out / "cat.png"), expected.argmax(axis=0))
    with Image.open(out / "cat_compare.png") as picture:
        assert picture.size == (4 * 101 + 3 * 4, 70 + 20)


def test_two_folders(run):
    code, shown, _, out = run("images", "coarse", "--truth", "truth", "--prob", "none")
    assert code == 0
    assert {path.name for path in out.iterdir()} == {
        f"{name}{suffix}" for name in ("cat", "cup") for suffix in (".png", "_compare.png")
    }
    assert [line.split(":")[0] for line in shown.splitlines()] == [
        "images/cat.jpg",
        "images/cup.png",
        "all images",
    ]


def test_tiles_give_nearly_the_whole(run):
    files = ("images/cat.jpg", "coarse/cat.npy", "--prob", "float32")
    whole = np.load(run(*files)[-1] / "cat.npz")["prob"]
    code, _, errors, out = run(*files, "--tile", 64, "--overlap", 40)
    assert code == 0
    assert "6 tiles of" in errors
    tiled = np.load(out / "cat.npz")["prob"]
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize("kind", ["npz", "h5", "mat", "small.npy", "png"])
def test_kinds_of_coarse_maps(run, work, tmp_path, kind):
    coarse = np.load(work / "coarse/cup.npy")
    path = tmp_path / f"map.{kind}"
    if kind == "npz":
        np.savez(path, prob=coarse)
    elif kind == "h5":
        import h5py

        with h5py.File(path, "w") as file:
            file["coarse"] = coarse
    elif kind == "mat":
        from scipy.io import savemat

        savemat(path, {"coarse": np.moveaxis(coarse, 0, 2)})
    elif kind == "png":
        coarse = (coarse.argmax(axis=0) == np.arange(2)[:, None, None]).astype(np.float32)
        image = Image.fromarray(coarse.argmax(axis=0).astype(np.uint8))
        image.putpalette([0, 0, 0, 1, 2, 3])
        image.save(path)
    else:
        coarse = coarse[:, ::7, ::5]
        np.save(path, coarse)
    code, _, _, out = run("images/cup.png", path, "--prob", "float32", model="copy.prototxt")
    assert code == 0
    expected = resize_coarse(coarse, *SIZE)
    np.testing.assert_allclose(np.load(out / "cup.npz")["prob"], expected, atol=1e-6)
    np.testing.assert_array_equal(labels_of(out / "cup.png"), expected.argmax(axis=0))
    if kind == "png":
        # Classes keep the colours that they came with.
        with Image.open(out / "cup.png") as image:
            assert image.getpalette()[:6] == [0, 0, 0, 1, 2, 3]


def test_results_can_be_refined_again(run, tmp_path):
    out = run("images/cat.jpg", "coarse/cat.npy", model="copy.prototxt")[-1]
    (tmp_path / "first.npz").write_bytes((out / "cat.npz").read_bytes())
    assert run("images/cat.jpg", tmp_path / "first.npz")[0] == 0


def test_one_bad_file_does_not_cost_the_others(run, tmp_path):
    broken = tmp_path / "broken.npy"
    broken.write_bytes(b"nothing")
    code, _, errors, out = run("images/cat.jpg", broken, "images/cup.png", "coarse/cup.npy")
    assert code == 1
    assert f"{broken}\n  cannot be read as a coarse map" in errors
    assert "1 of 2 images could not be refined" in errors
    assert (out / "cup.png").exists()


def test_restricted_to_the_classes_of_the_coarse_map(run, tmp_path):
    np.save(tmp_path / "sure.npy", np.full((2, 3, 4), [[[0.9]], [[0.1]]], np.float32))
    files = ("images/cat.jpg", tmp_path / "sure.npy")
    out = run(*files, "--restrict-to-coarse")[-1]
    assert labels_of(out / "cat.png").max() == 0
    assert np.load(out / "cat.npz")["prob"][1].max() == 0


# What is refused


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["images/cat.jpg"], "1 paths make no pairs"),
        (["images/cat.jpg", "none.npy"], "none.npy\n  there is no such file"),
        (["images/cat.jpg", "coarse"], "coarse\n  is paired with a file, one of them"),
        (["images", "truth/cat.png"], "give two files or two folders"),
        (["images", "."], "'cat' has no coarse map"),
        (["truth/../coarse", "coarse"], "has no images"),
        (["images/cat.jpg", "images/cup.png"], "holds colours"),
        (["images/cat.jpg", "coarse/cat.npy", "--truth", "none.png"], "none.png"),
        (["images", "coarse", "--truth", "truth/cat.png"], "but there are 2 images"),
        (["images/cat.jpg", "coarse/cat.npy", "-o", "images"], None),
        (["images/cup.png", "coarse/cup.npy", "-o", "images"], "is an input, and a result"),
        (["images/cat.jpg", "coarse/cat.npy"] * 2, "their results would have one name"),
    ],
)
def test_files_that_do_not_fit(run, work, arguments, expected):
    code, _, errors, _ = run(*arguments)
    if expected is None:
        # Beside a JPEG there is room.
        assert code == 0
        for path in ("cat.png", "cat.npz", "cat_compare.png"):
            (work / "images" / path).unlink()
    else:
        assert code == 1
        assert expected in errors


def test_coarse_map_of_other_classes(run, tmp_path):
    np.save(tmp_path / "three.npy", np.full((3, 4, 4), 1 / 3))
    code, _, errors, _ = run("images/cat.jpg", tmp_path / "three.npy")
    assert code == 1
    assert "3 classes; 2 were expected" in errors
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(tmp_path / "seven.png")
    code, _, errors, _ = run("images/cat.jpg", tmp_path / "seven.png")
    assert code == 1
    assert "seven.png\n  has label 7; the net's 2 classes go from 0 to 1" in errors


def test_truth_of_another_size(run, tmp_path):
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "truth.png")
    code, _, errors, _ = run("images/cat.jpg", "coarse/cat.npy", "--truth", tmp_path / "truth.png")
    assert code == 1
    assert "is 5 x 4 (w x h); its image images/cat.jpg is 101 x 70" in errors


def test_a_net_that_refines_nothing(run, work):
    (work / "other.prototxt").write_text(
        "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 } } }"
    )
    code, _, errors, _ = run("images/cat.jpg", "coarse/cat.npy", model="other.prototxt")
    assert code == 1
    assert "the net has no input 'coarse'" in errors


def test_bad_weights(run, work):
    code, _, errors, _ = run("images/cat.jpg", "coarse/cat.npy", "--weights", "none.caffemodel")
    assert code == 1
    assert "none.caffemodel" in errors


def test_usage(run):
    assert run("a", "b", "--mean", "1,2")[0] == 2
    assert run("a", "b", "--memory", "0")[0] == 2
    assert run("a", "b", "--tile", "0")[0] == 2
