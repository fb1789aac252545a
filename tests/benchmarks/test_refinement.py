"""The trainings behind docs/results.md: networks, one whole small run, and the page's tables."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import refinement, refinement_report
from benchmarks.batch_statistics import measure_statistics
from benchmarks.refinement_network import CONNECTIONS, write_network
from caffe_spn.proto import caffe_pb2, text
from tests.data.tiny_sets import make_set

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module", autouse=True)
def few_batches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.batch_statistics.BATCHES", 2)
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    for split in ("train", "val"):
        make_set(root, split=split)
    return str(root)


@pytest.fixture(scope="module")
def finished(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    refinement.main(["--source", source, "--iterations", "1", "--out", str(out)])
    return out


def layers(folder: Path, part: str) -> dict:
    net = text.read(str(folder / f"{part}.prototxt"), caffe_pb2.NetParameter)
    return {layer.name: layer for layer in net.layer}


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_the_models_differ_in_guidance_and_propagation_only(source, tmp_path, connection):
    write_network(tmp_path / "three", source, "three-way", 100, seed=3)
    write_network(tmp_path / "own", source, connection, 100, seed=3)
    for part in ("train", "test", "deploy"):
        three, own = layers(tmp_path / "three", part), layers(tmp_path / "own", part)
        assert list(three) == list(own)
        differing = {name for name in own if own[name] != three[name]}
        assert differing == (set() if connection == "three-way" else {"guidance", "propagated"})
    types = {"three-way": "SpatialPropagation", "one-way": "SpatialPropagation", "none": "Eltwise"}
    assert own["propagated"].type == types[connection]
    gates = {"three-way": 192, "one-way": 64, "none": 16}
    assert own["guidance"].convolution_param.num_output == gates[connection]
    solver = text.read(str(tmp_path / "own" / "solver.prototxt"), caffe_pb2.SolverParameter)
    assert (solver.random_seed, solver.max_iter, solver.snapshot) == (3, 100, 10)


def test_a_run_writes_its_scores(finished, source):
    result = json.loads((finished / refinement.RESULT).read_text())
    assert result["set"] == Path(source).name
    assert [image["name"] for image in result["images"]] == ["im0", "im1", "im2"]
    for stage in ("coarse", "refined"):
        assert 0 < result[stage]["accuracy"] < 1
        assert len(result[stage]["class_iou"]) == len(result["classes"]) == 3
    assert result["training"]["wall_seconds"] > 0
    assert list(result["training_loss"]) == ["0"]
    assert result["remeasured"]["accuracy"] != result["refined"]["accuracy"]
    assert result["refined"]["errors_within"]["12"] <= 1


def test_a_resumed_run_scores_the_same_and_keeps_its_time(finished, source):
    before = json.loads((finished / refinement.RESULT).read_text())
    words = ["--source", source, "--iterations", "1", "--out", str(finished), "--resume"]
    refinement.main(words)
    after = json.loads((finished / refinement.RESULT).read_text())
    for key in ("training", "coarse", "refined", "remeasured", "images"):
        assert after[key] == before[key]


def test_statistics_are_plain_averages_over_the_batches(finished, source, tmp_path):
    network = finished / "net" / "train.prototxt"
    weights = finished / refinement.REMEASURED
    measure_statistics(network, weights, tmp_path / "w.caffemodel", seed=1)
    measured = caffe_pb2.NetParameter.FromString((tmp_path / "w.caffemodel").read_bytes())
    scales = [layer.blobs[2].data[0] for layer in measured.layer if layer.type == "BatchNorm"]
    assert scales == [2] * 6


def test_the_clock_goes_on_from_the_last_snapshot(tmp_path):
    path = tmp_path / "clock.json"
    path.write_text(json.dumps(refinement.seconds(100.0, 50.0)))
    refinement.Clock(path, go_on=True).on_snapshot(None)
    total = json.loads(path.read_text())
    assert 100 < total["wall_seconds"] < 160
    refinement.Clock(path, go_on=False).on_snapshot(None)
    assert json.loads(path.read_text())["wall_seconds"] < 60


def test_the_report_renews_the_page(finished, tmp_path):
    page = tmp_path / "results.md"
    page.write_text("Scores:\n<!-- scores -->\nold\n<!-- end -->\nkept\n")
    refinement.main(["--report", str(finished), "--docs", str(tmp_path)])
    accuracy = json.loads((finished / refinement.RESULT).read_text())["refined"]["accuracy"]
    assert f"| three-way | 1 | {accuracy:.4f} |" in page.read_text()
    assert "old" not in page.read_text() and page.read_text().endswith("kept\n")
    assert len(list((tmp_path / "results").glob("*.png"))) == 2


def test_images_are_compared_in_pairs():
    def run(connection, *scores):
        images = [{"refined": {"mean_iou": s, "boundary_accuracy": s}} for s in scores]
        return {"set": "s", "connection": connection, "units": 2, "seed": 1, "images": images}

    table = refinement_report._images(
        [run("one-way", 0.5, 0.5, None), run("three-way", 0.6, 0.4, 1)]
    )
    assert "| mean IoU | +0.0000 | 1 of 2 |" in table


def test_the_page_says_what_the_recorded_runs_say():
    page = (DOCS / refinement_report.PAGE).read_text()
    results = refinement_report.read(DOCS / "results")
    assert len(results) >= 4
    assert refinement_report.with_tables(page, results) == page


def test_recorded_runs_of_a_set_had_the_same_coarse_maps():
    for name in {r["set"] for r in refinement_report.read(DOCS / "results")}:
        own = [r for r in refinement_report.read(DOCS / "results") if r["set"] == name]
        assert all(np.array_equal(r["coarse"], own[0]["coarse"]) for r in own)
