"""caffe-spn demo: train a small spatial propagation network and refine what it has not seen.

Everything it needs is in the wheels of caffe_spn and scikit-image; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from caffe_spn.tools import arguments

DESCRIPTION = """\
Train a small three-way spatial propagation network on pictures that scikit-image carries, and
sharpen coarse segmentations of two regions that were kept out of the training: the right half of a
picture of coins, and the front of a motorcycle, whose masks come from measured depth.

Writes into the output folder: the pictures as a data set, the network as prototxt, the weights, the
training log, and for each held-out picture the coarse map, the refined map and RESULT.png, which
shows image, coarse, refined and true segmentation side by side.

It takes 2 to 4 minutes on two cores; the first run also compiles the kernels, which are kept."""

ITERATIONS = 400
SEED = 1
# The longer side of each picture in the comparison, in pixels.
PANEL = 620


def parser() -> argparse.ArgumentParser:
    parser = arguments.Parser("demo", DESCRIPTION, "caffe-spn demo --out demo_out")
    parser.add_argument("--out", default="demo_out", metavar="FOLDER", help="default: demo_out")
    parser.add_argument(
        "--iterations",
        type=arguments.positive,
        default=ITERATIONS,
        help=f"training steps ({ITERATIONS})",
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"of all random numbers ({SEED})")
    return parser


def main(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    from caffe_spn.data.demo_set import write_demo_set

    out = Path(options.out)
    source = write_demo_set(out / "data")
    print(f"1. Wrote a data set of real pictures to {source}", flush=True)
    started = time.perf_counter()
    weights = _train(out, source, options)
    minutes = (time.perf_counter() - started) / 60
    print(f"2. Trained {options.iterations} iterations in {minutes:.1f} minutes: {weights}")
    _refine(out, source, weights, options.seed)
    return 0


def _train(out: Path, source: Path, options) -> Path:
    from caffe_spn.proto import caffe_pb2, text
    from caffe_spn.prototxt.generate import generate
    from caffe_spn.tools import train

    folder = out / "net"
    generate(folder, "demo", str(source), True, iterations=options.iterations, patches_per_image=1)
    solver = folder / "solver.prototxt"
    param = text.read(str(solver), caffe_pb2.SolverParameter)
    param.random_seed = options.seed
    # The held-out pictures are looked at once, at the end.
    for field in ("test_net", "test_iter", "test_interval"):
        param.ClearField(field)
    solver.write_text(text.to_text(param), encoding="utf-8")
    code = train.main(["--solver", str(solver), "--log", str(out / "train.log")])
    if code:
        raise KeyboardInterrupt
    return Path(f"{param.snapshot_prefix}_iter_{options.iterations}.caffemodel")


def _refine(out: Path, source: Path, weights: Path, seed: int) -> None:
    import caffe_spn as caffe
    from caffe_spn import visual
    from caffe_spn.data.coarse import make_coarse
    from caffe_spn.data.voc import VocSet
    from caffe_spn.metrics import SegmentationScore
    from caffe_spn.refine import refine

    net = caffe.Net(str(out / "net" / "deploy.prototxt"), caffe.TEST, weights=str(weights))
    held_out = VocSet(source, "val")
    classes = len(held_out.class_names)
    rng = np.random.default_rng(seed)
    (out / "coarse").mkdir(exist_ok=True)
    rows, pictures = [], []
    for index, name in enumerate(held_out.names):
        image, truth = held_out.pair(index)
        coarse = make_coarse(truth, classes, rng)
        np.savez_compressed(out / "coarse" / f"{name}.npz", coarse)
        refined = refine(net, image, coarse)
        np.savez_compressed(out / f"{name}_refined.npz", refined)
        labels = {"coarse": coarse.argmax(axis=0), "refined": refined.argmax(axis=0)}
        for stage, prediction in labels.items():
            score = SegmentationScore(classes)
            score.add(truth, prediction)
            rows.append((name, stage, score.summary()))
        rgb = image[:, :, ::-1]
        shown = {**labels, "truth": np.where(truth == held_out.ignore_label, 0, truth)}
        panels = [("image", rgb)] + [
            (caption, _tint(visual, rgb, map_, held_out.palette)) for caption, map_ in shown.items()
        ]
        pictures.append(out / f"{name}.png")
        enlarge = max(1, PANEL // max(truth.shape))
        panels = [(c, p.repeat(enlarge, axis=0).repeat(enlarge, axis=1)) for c, p in panels]
        visual.write_picture(pictures[-1], visual.side_by_side(panels, long_side=PANEL))
    print("3. Refined what was not trained on:\n")
    print(_table(rows, held_out.class_names))
    print("\n   Look at " + " and ".join(map(str, pictures)))
    first = held_out.names[0]
    print(
        "   The same from the command line:\n"
        f"   caffe-spn refine --model {out}/net/deploy.prototxt --weights {weights}"
        f" {out}/data/JPEGImages/{first}.png {out}/coarse/{first}.npz -o {out}/refined"
    )


def _tint(visual, rgb: np.ndarray, labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The picture with the foreground in its colour and the background darkened."""
    labels = labels.astype(np.uint8)
    strong, light = (visual.overlay(rgb, labels, palette, opacity) for opacity in (0.7, 0.4))
    return np.where((labels == 0)[:, :, None], strong, light)


def _table(rows, class_names: Sequence[str]) -> str:
    head = ["picture", "map", "mean IoU", "boundary accuracy", *(f"IoU {c}" for c in class_names)]
    lines = [head]
    for name, stage, score in rows:
        values = [score["mean_iou"], score["boundary_accuracy"], *score["class_iou"]]
        lines.append([name, stage, *(f"{value:.3f}" for value in values)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    texts = [
        "   " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    texts.insert(1, "   " + "  ".join("-" * width for width in widths))
    note = "   boundary accuracy: pixels within 3 pixels of a true boundary that are right"
    return "\n".join(line.rstrip() for line in texts) + "\n\n" + note
