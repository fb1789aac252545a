"""Networks for a task of one's own: options reach the files, and bad ones are explained."""

import pytest

import caffe_spn
from caffe_spn.errors import DataError, PrototxtError
from caffe_spn.proto import caffe_pb2, text
from caffe_spn.prototxt.generate import DESIGNS, adapt, generate, scale_solver
from caffe_spn.prototxt.network import build


def layers(path):
    return {layer.name: layer for layer in text.read(path, caffe_pb2.NetParameter).layer}


def test_options_reach_the_files(tmp_path, tiny_set):
    folder = tmp_path / "stripes"
    options = dict(connection="one-way", units=3, channels=8, batch=2, patch_size=64)
    paths = generate(
        folder, "demo", tiny_set, iterations=10, base_lr=1e-3, coarse="maps", **options
    )
    assert [p.name for p in paths] == [
        *("train.prototxt", "test.prototxt", "deploy.prototxt", "solver.prototxt")
    ]
    train = layers(folder / "train.prototxt")
    data = train["data"].segmentation_patch_param
    assert (data.source, data.num_classes, data.batch_size) == (str(tiny_set), 5, 2)
    assert data.patch_size == 64 and data.coarse.endswith("/maps")
    propagation = train["propagated"].spatial_propagation_param
    assert propagation.connection == propagation.ONE_WAY and propagation.units == 3
    assert propagation.normalization == propagation.CLIP
    assert train["guidance"].convolution_param.num_output == 8 * 4
    solver = text.read(folder / "solver.prototxt", caffe_pb2.SolverParameter)
    assert (solver.max_iter, solver.stepsize) == (10, 8)
    assert solver.base_lr == pytest.approx(1e-3)
    assert solver.snapshot_prefix == str(folder / "snapshots" / "stripes")


@pytest.mark.parametrize("design", DESIGNS)
def test_every_design_adapts_and_builds(design, tiny_set):
    network = adapt(design, "mine", str(tiny_set), patch_size=DESIGNS[design].multiple)
    net = caffe_spn.Net(build(network, "deploy"), caffe_spn.TEST)
    assert net.name == "mine" and net.blobs["prob"].shape[1] == 5


def test_intervals_keep_their_proportion():
    solver = dict(max_iter=100, stepsize=80, test_interval=10, snapshot=100, base_lr=1)
    assert scale_solver(solver, 20) == dict(
        max_iter=20, stepsize=16, test_interval=2, snapshot=20, base_lr=1
    )


def test_it_does_not_overwrite_unasked(tmp_path):
    generate(tmp_path, "demo", "set", classes=2)
    with pytest.raises(DataError, match=r"has a solver\.prototxt already\n  help: .*--force"):
        generate(tmp_path, "demo", "set", classes=2)
    generate(tmp_path, "demo", "set", classes=2, overwrite=True)


def test_classes_must_be_known(tiny_set, tmp_path):
    bare = tmp_path / "bare"
    (bare / "ImageSets").mkdir(parents=True)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (bare / folder).symlink_to(tiny_set / folder)
    with pytest.raises(
        DataError, match=r"no meta\.json that lists the classes\n  help: .*--classes"
    ):
        adapt("demo", "mine", str(bare))


def test_patch_size_must_fit_the_poolings():
    with pytest.raises(PrototxtError, match=r"patches of 100 pixels do not fit; .* until 8 pixels"):
        adapt("demo", "mine", "set", classes=2, patch_size=100)


def test_one_way_gates_cannot_be_summed():
    with pytest.raises(PrototxtError, match="no gradient\n  help: take clip"):
        adapt("helen", "mine", "set", classes=2, connection="one-way", normalization="sum-abs")
