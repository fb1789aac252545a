"""caffe-spn check: every problem of a file at once, shapes, memory, solvers."""

import pytest

import caffe_spn as caffe
from caffe_spn.tools import main as cli
from tests.tools.cli import SOLVER, caffe_spn, write_tiny


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder; returns its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = cli.main(["check", *map(str, arguments)])
        return code, capsys.readouterr().out

    run.folder = tmp_path
    return run


def test_table_of_shapes_and_memory_in_both_phases(tmp_path):
    write_tiny(tmp_path)
    result = caffe_spn(tmp_path, "check", "net.prototxt")
    assert result.returncode == 0, result.stdout + result.stderr
    train, test = result.stdout.split("net.prototxt: TEST\n")
    assert "accuracy" in test and "accuracy" not in train
    rows = [line.split() for line in test.splitlines()]
    assert ["conv", "Convolution", "4x2x6x8", "56", "1.5", "kB"] in rows
    assert "in place" in train
    assert "Split" not in test
    # data 4*3*48, label 4*48, conv 4*2*48, loss 1; 56 parameters.
    count = 4 * 3 * 48 + 4 * 48 + 4 * 2 * 48 + 1
    assert f"memory: {4 * count / 1000:.1f} kB data + 224 B parameters" in train
    assert "to train" in train and "to train" not in test
    assert result.stdout.endswith("net.prototxt: no problem\n")


BAD = """layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "a" type: "Convolution" bottom: "data" top: "a"
  convolution_param { num_output: 2 kernel_size: 30 } }
layer { name: "b" type: "ReLU" bottom: "dta" top: "b" }
layer { name: "c" type: "Convolutoin" bottom: "data" top: "c" }
layer { name: "d" type: "ReLU" bottom: "a" top: "d" }
layer { name: "e" type: "AbsVal" bottom: "data" top: "e" }
"""


def test_every_problem_is_listed_with_its_line(check):
    (check.folder / "bad.prototxt").write_text(BAD)
    code, out = check("bad.prototxt")
    assert code == 1
    found = [line for line in out.splitlines() if line.startswith("problem:")]
    assert found == [
        "problem: bad.prototxt:3: layer 'a' (Convolution)",
        "problem: bad.prototxt:5: layer 'b' (ReLU)",
        "problem: bad.prototxt:6: layer 'c'",
    ]
    assert "did you mean 'Convolution'?" in out and "did you mean 'data'?" in out
    assert "not looked at, as they follow from a faulty layer: d\n" in out
    # The blob that four layers want was still split, and a sound layer built on it.
    assert "e      AbsVal  1x3x8x8" in out
    assert out.endswith("bad.prototxt: 3 problems\n")


def test_quiet_leaves_out_tables(check):
    (check.folder / "bad.prototxt").write_text(BAD)
    assert "AbsVal" not in check("-q", "bad.prototxt")[1]


def test_text_that_is_no_prototxt(check):
    (check.folder / "net.prototxt").write_text("layer { name: 'a' tpye: 'ReLU' }")
    code, out = check("net.prototxt")
    assert code == 1
    assert "problem: net.prototxt:1:19" in out


def test_missing_file(check):
    code, out = check("none.prototxt")
    assert code == 1
    assert "none.prototxt" in out


def test_nothing_to_build(check):
    (check.folder / "net.prototxt").write_text("name: 'nothing'")
    assert "problem: net.prototxt\n  has no layers\n" in check("net.prototxt")[1]
    write_tiny(check.folder, net="layer { name: 'a' type: 'Input' exclude { stage: 'x' } }")
    assert check("net.prototxt", "--stage", "y")[0] == 1
    assert (
        "has no layers in this phase, level and stage" in check("net.prototxt", "--stage", "x")[1]
    )


def test_include_and_exclude(check):
    (check.folder / "net.prototxt").write_text(
        "layer { name: 'a' type: 'Input' top: 'a' include { phase: TEST } exclude { stage: 'x' } }"
    )
    for arguments in ((), ("--phase", "test")):
        code, out = check("net.prototxt", *arguments)
        assert code == 1
        assert "problem: net.prototxt:1: layer 'a' (Input)\n  has include and exclude rules" in out


def test_level_and_stage_choose_layers(check):
    (check.folder / "net.prototxt").write_text(
        "layer { name: 'a' type: 'Input' top: 'a' input_param { shape { dim: 5 } } }"
        "layer { name: 'b' type: 'AbsVal' bottom: 'a' top: 'b'"
        " include { stage: 'deploy' min_level: 2 } }"
    )
    assert "AbsVal" not in check("net.prototxt", "--stage", "deploy")[1]
    assert "AbsVal" in check("net.prototxt", "--stage", "deploy", "--level", 2)[1]


def test_weights_that_do_not_fit(check):
    write_tiny(check.folder)
    net = caffe.Net("net.prototxt", caffe.TEST)
    net.save("good.caffemodel")
    assert check("net.prototxt", "--weights", "good.caffemodel")[0] == 0
    text = (check.folder / "net.prototxt").read_text()
    (check.folder / "other.prototxt").write_text(text.replace("num_output: 2", "num_output: 3"))
    code, out = check("other.prototxt", "--weights", "good.caffemodel")
    assert code == 1
    assert "problem: good.caffemodel" in out
    assert "'conv'" in out
    # What no file has is worth a word.
    (check.folder / "more.prototxt").write_text(
        text + 'layer { name: "more" type: "Scale" bottom: "data" top: "more" }'
    )
    code, out_more = check("more.prototxt", "--weights", "good.caffemodel")
    assert code == 0
    assert "warning: no weights for more in good.caffemodel" in out_more
    # The same misfit in both phases is one problem.
    assert out.endswith("other.prototxt: 1 problem\n")


PATCHES = """
layer { name: "data" type: "SegmentationPatch" top: "image" top: "coarse" top: "label"
  segmentation_patch_param { source: "helen" num_classes: 11 batch_size: 2 patch_size: 64 %s } }
layer { name: "score" type: "Convolution" bottom: "image" top: "score"
  convolution_param { num_output: 11 kernel_size: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "score" bottom: "coarse" top: "sum" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "sum" bottom: "label" top: "loss" }
"""


def test_data_that_are_not_here_are_warned_of(check):
    (check.folder / "net.prototxt").write_text(PATCHES % "")
    code, out = check("net.prototxt")
    assert code == 0
    assert "data   SegmentationPatch  2x3x64x64, 2x11x64x64, 2x1x64x64" in out
    assert "warning: net.prototxt:2: layer 'data' (SegmentationPatch)" in out
    assert "its data are not here (helen)" in out
    assert out.endswith("net.prototxt: no problem, 1 warning\n")
    assert check("--strict", "net.prototxt")[0] == 1


def test_wrong_settings_of_a_layer_without_data_are_problems(check):
    (check.folder / "net.prototxt").write_text(PATCHES % "scale_min: 3 scale_max: 2")
    code, out = check("net.prototxt")
    assert code == 1
    assert "scales from 3 to 2 make no range" in out


def test_data_whose_shape_is_unknown_are_a_problem(check):
    (check.folder / "net.prototxt").write_text(
        "layer { name: 'd' type: 'HDF5Data' top: 'd' hdf5_data_param"
        " { source: 'none.txt' batch_size: 2 } }"
    )
    code, out = check("net.prototxt")
    assert code == 1
    assert "none.txt" in out


def test_images_that_are_not_here(check):
    (check.folder / "net.prototxt").write_text(
        "layer { name: 'd' type: 'ImageData' top: 'd' top: 'l' image_data_param"
        " { source: 'list.txt' batch_size: 5 new_height: 20 new_width: 30 is_color: false }"
        " transform_param { crop_size: 16 } }"
    )
    code, out = check("net.prototxt")
    assert code == 0
    assert "5x1x16x16, 5" in out


def test_python_layers_can_be_refused(check):
    (check.folder / "net.prototxt").write_text(
        "layer { name: 'p' type: 'Python' top: 'p' python_param { module: 'os' layer: 'abort' } }"
    )
    code, out = check("--no-python-layers", "net.prototxt")
    assert code == 1
    assert "Python layers are refused" in out


# Solvers


def test_solver_and_its_nets(tmp_path):
    write_tiny(tmp_path)
    result = caffe_spn(tmp_path, "check", "solver.prototxt")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "solver.prototxt: training net net.prototxt\n" in result.stdout
    assert "solver.prototxt: test net net.prototxt\n" in result.stdout


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"fixed"', '"fxed"', "did you mean 'fixed'?"),
        ('"fixed"', '"fixed" type: "Adma"', "did you mean 'Adam'?"),
        ("test_interval: 4", "test_interval: 0", "test_interval is 0"),
        ('"net.prototxt"', '"nt.prototxt"', "nt.prototxt"),
        ("max_iter", "weights: 'none.caffemodel' max_iter", "there are no such weights"),
        ("display", "net_param { } display", "a solver trains exactly one net"),
    ],
)
def test_problems_of_solvers(check, old, new, expected):
    assert old in SOLVER
    write_tiny(check.folder, SOLVER.replace(old, new, 1))
    code, out = check("solver.prototxt")
    assert code == 1
    assert expected in out


def test_solver_with_problems_in_settings_and_net(check):
    write_tiny(check.folder, SOLVER.replace('"fixed"', '"fxed"'), BAD)
    code, out = check("solver.prototxt")
    assert code == 1
    assert out.endswith("solver.prototxt: 4 problems\n")
