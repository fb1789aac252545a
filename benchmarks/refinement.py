"""Train a refinement network on a segmentation set and score it on images it has not seen.

One command trains and scores one model; a second one makes of all of them what docs/results.md
shows::

    python -m benchmarks.refinement --source data/dsb2018 --connection three-way --out runs/three
    python -m benchmarks.refinement --source data/dsb2018 --connection one-way --out runs/one
    python -m benchmarks.refinement --report runs/three runs/one

The set is in the layout of PASCAL VOC. Its `train` split is trained on, its `val` split is scored,
whole images at a time. A run that was stopped goes on with `--resume`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.refinement_network import CONNECTIONS, write_network
from benchmarks.refinement_result import RESULT

LOG = "train.jsonl"
CLOCK = "clock.json"
REMEASURED = "remeasured.caffemodel"


def train(out: Path, resume: bool = False) -> Path:
    """Train the network that lies in ``out/net``; returns its weights."""
    from caffe_spn import training_log
    from caffe_spn.solver import get_solver
    from caffe_spn.tools.train import newest_snapshot

    training_log.init_log()
    solver = get_solver(str(out / "net" / "solver.prototxt"), create_snapshot_dir=True)
    state = newest_snapshot(solver.param.snapshot_prefix) if resume else None
    log = training_log.JsonLog(out / LOG)
    solver.add_listener(log)
    solver.add_listener(Clock(out / CLOCK, go_on=state is not None))
    try:
        solver.solve(state)
    finally:
        log.close()
        solver.close()
    return Path(f"{solver.param.snapshot_prefix}_iter_{solver.iter}.caffemodel")


class Clock:
    """Listens to a solver, and adds up wall-clock and processor time across its resumptions.

    What was done after the last snapshot of a stopped run is done again, and counts once.

    Parameters
    ----------
    path : Path
        A JSON file that is written at each snapshot.
    go_on : bool
        Whether to add to what is there.
    """

    def __init__(self, path: Path, go_on: bool):
        self._path = path
        self._before = json.loads(path.read_text()) if go_on else seconds(0, 0)
        self._start = now()

    def on_snapshot(self, event) -> None:
        spent = seconds(*(b - a for a, b in zip(self._start, now(), strict=True)))
        total = {name: spent[name] + self._before[name] for name in spent}
        self._path.write_text(json.dumps(total))


def now() -> tuple[float, float]:
    """Wall-clock time, and the processor time of all threads of this process."""
    return time.perf_counter(), time.process_time()


def seconds(wall: float, processor: float) -> dict[str, float]:
    return {"wall_seconds": wall, "cpu_seconds": processor}


def run(options: argparse.Namespace, command: str) -> dict:
    """Train, score, and write the result as JSON into the output folder."""
    from benchmarks.batch_statistics import measure_statistics
    from benchmarks.refinement_scores import Model, score
    from caffe_spn.tools.loss_plot import curves

    out = Path(options.out)
    if not options.resume:
        write_network(
            out / "net",
            options.source,
            options.connection,
            options.iterations,
            options.seed,
            options.long_side,
            options.units,
        )
        (out / LOG).unlink(missing_ok=True)
    weights = train(out, options.resume)
    start = now()
    model = Model(out / "net" / "deploy.prototxt", weights, options.source, options.long_side)
    scores = score(model)
    end = now()
    measure_statistics(out / "net" / "train.prototxt", weights, out / REMEASURED, options.seed)
    remeasured = score(replace(model, weights=out / REMEASURED))["refined"]
    losses, tests = curves(out / LOG)
    result = {
        "set": Path(options.source).name,
        "source": options.source,
        "classes": model.val.class_names,
        "connection": options.connection,
        "units": options.units,
        "seed": options.seed,
        "iterations": options.iterations,
        "long_side": options.long_side,
        "command": command,
        "training": json.loads((out / CLOCK).read_text()),
        "evaluation": seconds(end[0] - start[0], end[1] - start[1]),
        "parameters": model.trained_parameters(),
        **scores,
        "remeasured": remeasured,
        "training_loss": losses,
        "validation": tests,
    }
    (out / RESULT).write_text(json.dumps(result, indent=1))
    return result


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.refinement",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", metavar="FOLDER", help="the set")
    parser.add_argument("--connection", choices=CONNECTIONS, default="three-way")
    parser.add_argument("--units", type=int, default=2, help="propagations in a row (2)")
    parser.add_argument("--iterations", type=int, default=240, metavar="N", help="default: 240")
    parser.add_argument("--seed", type=int, default=1, help="of weights and patches (1)")
    parser.add_argument(
        "--long-side",
        type=int,
        default=0,
        metavar="PIXELS",
        help="resize images to it; by default they keep their size",
    )
    parser.add_argument("--out", metavar="FOLDER", help="what the run writes goes there")
    parser.add_argument("--resume", action="store_true", help="go on from the last snapshot")
    parser.add_argument("--report", nargs="+", metavar="RUN", help="folders of finished runs")
    parser.add_argument(
        "--docs", default="docs", metavar="FOLDER", help="where the report goes (docs)"
    )
    return parser


def main(argv=None) -> None:
    options = parser().parse_args(argv)
    if options.report:
        from benchmarks.refinement_report import report

        report([Path(folder) for folder in options.report], Path(options.docs))
        return
    if not options.source or not options.out:
        parser().error("a training needs --source and --out")
    words = sys.argv[1:] if argv is None else argv
    words = [word for word in words if word != "--resume"]
    command = shlex.join(["python", "-m", "benchmarks.refinement", *words])
    result = run(options, command)
    for name in ("coarse", "refined"):
        print(name, {key: result[name][key] for key in ("accuracy", "mean_iou")})


if __name__ == "__main__":
    main()
