"""What docs/results.md shows of finished trainings: tables, curves and pictures.

`report` copies each run's JSON to docs/results/, draws curves and pictures there, and renews the
tables of docs/results.md, which stand between ``<!-- NAME -->`` and ``<!-- end -->``. The tables
are made from the copied files alone, so that a test can tell whether the page says what they say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.refinement_result import MODELS, RESULT, TITLES, UNITS, model_of, name_of

MEASURES = {
    "accuracy": "overall accuracy",
    "mean_accuracy": "mean accuracy",
    "mean_iou": "mean IoU",
    "boundary_accuracy": "band accuracy",
}
PAGE = "results.md"


def report(runs: Sequence[Path], docs: Path) -> None:
    """Renew docs/results.md and what lies in docs/results/ from the folders of finished runs."""
    from benchmarks.refinement_pictures import draw_losses, draw_pictures

    folder = docs / "results"
    folder.mkdir(parents=True, exist_ok=True)
    finished = {}
    for run in runs:
        result = json.loads((run / RESULT).read_text())
        finished[run] = result
        text = json.dumps(result, indent=1)
        (folder / f"{name_of(result)}.json").write_text(_short_lists(text) + "\n")
    results = read(folder)
    for set_name in dict.fromkeys(r["set"] for r in results):
        own = [r for r in results if r["set"] == set_name]
        draw_losses(own, folder / f"{set_name}_loss.png")
        first = min(r["seed"] for r in own)
        models = {
            r["connection"]: run
            for run, r in finished.items()
            if r["set"] == set_name and r["seed"] == first and r["units"] == UNITS
        }
        draw_pictures(models, folder / f"{set_name}.png")
    page = docs / PAGE
    if page.exists():
        page.write_text(with_tables(page.read_text(), results))
    for table in tables(results).values():
        print(table, end="\n\n")


def read(folder: Path) -> list[dict]:
    """All results in a folder, sorted by set, model and seed."""
    results = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    order = list(MODELS)

    def place(result: dict):
        model = order.index(result["connection"])
        return result["set"], result["units"] != UNITS, model, result["seed"]

    return sorted(results, key=place)


def tables(results: Sequence[dict]) -> dict[str, str]:
    """Markdown tables by name."""
    return {
        "scores": _scores(results),
        "remeasured": _scores(results, "remeasured"),
        "classes": _classes(results),
        "images": _images(results),
        "errors": _errors(results),
        "runs": _runs(results),
    }


def with_tables(page: str, results: Sequence[dict]) -> str:
    """The page with the tables between its marks renewed."""
    for name, table in tables(results).items():
        marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page = marks.sub(lambda match, table=table: match[1] + table + "\n" + match[2], page)
    return page


def _scores(results: Sequence[dict], stage: str = "refined") -> str:
    """The measures of the coarse maps, and of the maps that each model makes of them."""
    rows = []
    for set_name in _sets(results):
        own = [r for r in results if r["set"] == set_name]
        rows.append([TITLES.get(set_name, set_name), "coarse", "", *_measures(own[0]["coarse"])])
        rows += [["", model_of(r), r["seed"], *_measures(r[stage])] for r in own]
    return _markdown(["set", "map", "seed", *MEASURES.values()], rows)


def _classes(results: Sequence[dict]) -> str:
    """IoU of each class, of the first seed's models."""
    found = [r["connection"] for r in results if r["units"] == UNITS]
    columns = ["coarse", *(name for key, name in MODELS.items() if key in found)]
    rows = []
    for set_name in _sets(results):
        own = [r for r in results if r["set"] == set_name and r["units"] == UNITS]
        ious = {"coarse": own[0]["coarse"]["class_iou"]}
        for result in own:
            ious.setdefault(model_of(result), result["refined"]["class_iou"])
        for index, name in enumerate(own[0]["classes"]):
            title = TITLES.get(set_name, set_name) if index == 0 else ""
            values = [_number(ious[c][index]) if c in ious else "" for c in columns]
            rows.append([title, name, *values])
    return _markdown(["set", "class", *columns], rows)


def _images(results: Sequence[dict]) -> str:
    """Three-way against one-way, image by image, for equal sets and seeds."""
    rows = []
    index = {(r["connection"], r["set"], r["units"], r["seed"]): r for r in results}
    for (connection, *same), three in index.items():
        one = index.get(("one-way", *same))
        if connection != "three-way" or one is None:
            continue
        set_name, units, seed = same
        for key in ("mean_iou", "boundary_accuracy"):
            pairs = zip(three["images"], one["images"], strict=True)
            pairs = [(a["refined"][key], b["refined"][key]) for a, b in pairs]
            gains = [a - b for a, b in pairs if a is not None and b is not None]
            mean = sum(gains) / len(gains)
            better = sum(gain > 0 for gain in gains)
            title = TITLES.get(set_name, set_name)
            gain = [MEASURES[key], f"{mean:+.4f}", f"{better} of {len(gains)}"]
            rows.append([title, units, seed, *gain])
    head = ["set", "units", "seed", "of an image", "mean gain of three-way", "better on images"]
    return _markdown(head, rows)


def _errors(results: Sequence[dict]) -> str:
    """How far from a true boundary the errors are."""
    rows = []
    for set_name in _sets(results):
        own = [r for r in results if r["set"] == set_name]
        widths = own[0]["coarse"]["errors_within"]
        maps = [("coarse", own[0]["coarse"])]
        maps += [(f"{model_of(r)}, seed {r['seed']}", r["refined"]) for r in own]
        maps = [(name, summary) for name, summary in maps if "errors_within" in summary]
        for position, (name, summary) in enumerate(maps):
            title = TITLES.get(set_name, set_name) if position == 0 else ""
            shares = [f"{share:.1%}" for share in summary["errors_within"].values()]
            rows.append([title, name, *shares])
    return _markdown(["set", "map", *(f"within {width} px" for width in widths)], rows)


def _runs(results: Sequence[dict]) -> str:
    head = ["set", "model", "seed", "parameters", "steps", "training, min", "of a processor, min"]
    rows = [
        [
            TITLES.get(r["set"], r["set"]),
            model_of(r),
            r["seed"],
            f"{r['parameters']:,}",
            r["iterations"],
            f"{r['training']['wall_seconds'] / 60:.1f}",
            f"{r['training']['cpu_seconds'] / 60:.1f}",
        ]
        for r in results
    ]
    return _markdown(head, rows)


def _sets(results: Sequence[dict]) -> list[str]:
    return list(dict.fromkeys(r["set"] for r in results))


def _measures(summary: dict) -> list[str]:
    return [_number(summary[name]) for name in MEASURES]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _short_lists(text: str) -> str:
    """JSON with innermost lists and objects on one line each."""
    return re.sub(r"[\[{][^\[\]{}]*[\]}]", lambda match: " ".join(match[0].split()), text)
