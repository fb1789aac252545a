"""The curves and pictures of docs/results.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.refinement_result import RESULT, UNITS, model_of
from benchmarks.refinement_scores import Model
from caffe_spn import visual

COLORS = {"three-way": "tab:blue", "one-way": "tab:orange", "none": "tab:gray"}
# Pictures are shown enlarged, so that borders can be judged by eye: a part of the image.
CROP = 160
ZOOM = 2
COUNT = 4
# Sets whose photographs may be shown; of others only the label maps are.
FREE = ("dsb2018",)


def draw_losses(results: Sequence[dict], path: Path) -> None:
    """Training loss of all models of one set, and the loss on crops of `val`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for result in results:
        plain = result["units"] == UNITS and result["seed"] == results[0]["seed"]
        style = {"color": COLORS[result["connection"]], "linestyle": "-" if plain else ":"}
        label = f"{model_of(result)}, seed {result['seed']}"
        left.plot(*_points(result["training_loss"]), label=label, **style)
        for name, values in result["validation"].items():
            if name.startswith("loss"):
                right.plot(*_points(values), marker=".", label=label, **style)
    for axes, title in (
        (left, "training, mean of 20 steps"),
        (right, "48 crops of val, equal for all"),
    ):
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.set_ylabel("loss of a 128 x 128 patch")
        # The first steps are an order of magnitude above the rest.
        axes.set_yscale("log")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    figure.savefig(path, dpi=80)


def _points(values: Mapping) -> tuple[list[int], list[float]]:
    points = sorted((int(step), value) for step, value in values.items())
    return [step for step, _ in points], [value for _, value in points]


def draw_pictures(runs: Mapping[str, Path], path: Path) -> None:
    """Image (of `FREE` sets), coarse map, refined maps and truth of some images, in rows.

    Parameters
    ----------
    runs : mapping
        Connection to the folder of its run; all of one set.
    path : Path
        The PNG to write.
    """
    models = {name: _model(folder) for name, folder in runs.items()}
    shown = [name for name in ("one-way", "three-way") if name in models]
    if not shown:
        return
    first = models[shown[0]]
    # Evenly spaced over the list, not picked by how well they came out.
    indices = np.linspace(0, len(first.val) - 1, COUNT + 2).astype(int)[1:-1]
    rows = []
    for index in indices:
        image, truth = first.val.pair(index)
        part = _most_borders(truth)
        maps = {"coarse": first.coarse(index).argmax(axis=0)}
        maps |= {name: models[name].refined(index).argmax(axis=0) for name in shown}
        maps["truth"] = truth
        palette = first.val.palette
        if Path(first.source).name in FREE:
            rgb = image[:, :, ::-1]
            panels = [("image", rgb)]
            panels += [(name, _tint(rgb, labels, palette)) for name, labels in maps.items()]
        else:
            panels = [(name, visual.colorize(labels, palette)) for name, labels in maps.items()]
        panels = [(name, _enlarged(panel[part])) for name, panel in panels]
        rows.append(visual.side_by_side(panels, long_side=CROP * ZOOM))
    width = max(row.shape[1] for row in rows)
    rows = [
        np.pad(row, ((0, 6), (0, width - row.shape[1]), (0, 0)), constant_values=255)
        for row in rows
    ]
    _write_small(np.concatenate(rows), path)


def _model(folder: Path) -> Model:
    result = json.loads((folder / RESULT).read_text())
    weights = folder / "net" / "snapshots" / f"net_iter_{result['iterations']}.caffemodel"
    deploy = folder / "net" / "deploy.prototxt"
    return Model(deploy, weights, result["source"], result["long_side"])


def _most_borders(truth: np.ndarray) -> tuple[slice, slice]:
    """The part of at most `CROP` pixels a side with the longest borders of the truth."""
    from caffe_spn.metrics import boundary_band

    height, width = (min(side, CROP) for side in truth.shape)
    sums = np.pad(boundary_band(truth, 1).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    tall = sums[height:] - sums[:-height]
    counts = tall[:, width:] - tall[:, :-width]
    top, left = np.unravel_index(counts.argmax(), counts.shape)
    return slice(top, top + height), slice(left, left + width)


def _enlarged(picture: np.ndarray) -> np.ndarray:
    return picture.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def _tint(rgb: np.ndarray, labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The picture, with the colours of all classes but the first laid over it."""
    return np.where((labels == 0)[..., None], rgb, visual.overlay(rgb, labels, palette, 0.55))


def _write_small(picture: np.ndarray, path: Path) -> None:
    """Write a PNG of at most 256 colours, a third of the bytes."""
    from PIL import Image

    Image.fromarray(picture).quantize(256, kmeans=1).save(path, optimize=True)
