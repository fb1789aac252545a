"""caffe-spn plot_training_log: curves of trainings, as Caffe's plot_training_log.py."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence

from caffe_spn.errors import CaffeSpnError, DataError
from caffe_spn.tools import arguments
from caffe_spn.tools.caffe_log import Point, TrainingLog, read_log

QUANTITIES = ("Test accuracy", "Test loss", "Train learning rate", "Train loss")
# Chart 2 k is quantity k against iterations, chart 2 k + 1 against seconds.
CHARTS = [f"{quantity} vs. {unit}" for quantity in QUANTITIES for unit in ("Iters", "Seconds")]


def parser() -> arguments.Parser:
    listed = "\n".join(f"  {number}: {chart}" for number, chart in enumerate(CHARTS))
    parser = arguments.Parser(
        "plot_training_log",
        "Draw a curve from the logs of trainings, by this package or by Caffe, into a picture.\n"
        "Charts:\n\n" + listed + "\n\n"
        "Test loss is every output of the test nets that is part of their loss or has 'loss' in\n"
        "its name, test accuracy every other one; train loss is the smoothed one.",
        "caffe-spn plot_training_log 6 loss.png run1.log run2.log",
    )
    parser.add_argument("chart_type", type=_chart, metavar="CHART", help="its number, 0 to 7")
    parser.add_argument("picture", metavar="PICTURE", help="the file to write: .png, .svg, .pdf")
    parser.add_argument("logs", nargs="+", metavar="LOG", help="the logs")
    return parser


def main(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    curves = {}
    for path in options.logs:
        label = os.path.basename(path).removesuffix(".log")
        found = chart_curves(options.chart_type, read_log(path))
        for name, points in found.items():
            if options.chart_type % 2:
                points = [point for point in points if not math.isnan(point.seconds)]
            if points:
                curves[f"{label}: {name}" if len(found) > 1 else label] = points
    if not curves:
        raise DataError(
            f"there is nothing for chart {options.chart_type}, {CHARTS[options.chart_type]}",
            where=", ".join(options.logs),
            help="tests need a solver with test_interval, seconds a log whose lines have dates",
        )
    draw(options.chart_type, curves, options.picture)
    print(f"{CHARTS[options.chart_type]}: {options.picture}")
    return 0


def _chart(text: str) -> int:
    if not text.isdecimal() or int(text) >= len(CHARTS):
        raise argparse.ArgumentTypeError(f"'{text}' is none of 0 to {len(CHARTS) - 1}")
    return int(text)


def chart_curves(chart: int, log: TrainingLog) -> dict[str, list[Point]]:
    """The curves of a chart by name, without empty ones."""
    quantity = QUANTITIES[chart // 2]
    if quantity == "Train loss":
        return {"loss": log.losses} if log.losses else {}
    if quantity == "Train learning rate":
        return {"lr": log.rates} if log.rates else {}
    curves: dict[str, list[Point]] = {}
    for row in log.test:
        iteration, seconds, _, *outputs = row.items()
        for name, value in outputs:
            is_loss = name in log.loss_outputs or "loss" in name.lower()
            if is_loss == (quantity == "Test loss"):
                point = Point(int(iteration[1]), seconds[1], value)
                curves.setdefault(name, []).append(point)
    return curves


def draw(chart: int, curves: dict[str, list[Point]], picture: str) -> None:
    """Draw curves into a file."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise CaffeSpnError(
            "drawing needs matplotlib, which is not installed",
            help="pip install 'caffe_spn[plot]'",
        ) from error
    quantity, unit = CHARTS[chart].split(" vs. ")
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for label, points in curves.items():
        along = [p.iteration if unit == "Iters" else p.seconds for p in points]
        axes.plot(along, [p.value for p in points], marker=".", linewidth=0.75, label=label)
    axes.legend(loc="lower right" if "accuracy" in quantity else "upper right")
    axes.set(title=CHARTS[chart], xlabel=unit, ylabel=quantity)
    axes.grid(alpha=0.3)
    try:
        figure.savefig(picture, dpi=100)
    except ValueError as error:
        raise CaffeSpnError(str(error), where=picture) from error
