"""Draw the curves of a training from its JSON log."""

from __future__ import annotations

import json
import os


def plot(log: str | os.PathLike, picture: str | os.PathLike) -> str:
    """Draw loss and test results over the iterations.

    Parameters
    ----------
    log : path
        JSON lines, as `caffe_spn.training_log.JsonLog` writes them.
    picture : path
        The PNG to write.

    Returns
    -------
    str
        One line that says what was done; without matplotlib, how to get it.
    """
    train, tests = curves(log)
    if not train and not tests:
        return "no curves were drawn: neither display nor test_interval was reached"
    try:
        import matplotlib
    except ImportError:
        return f"no curves were drawn: pip install matplotlib for {os.fspath(picture)}"
    # Neither a display nor the user's settings are needed for a file.
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2 * (1 + bool(tests))), layout="constrained")
    axes = figure.subplots(1 + bool(tests), 1, sharex=True, squeeze=False)[:, 0]
    axes[0].plot(*zip(*sorted(train.items()), strict=True) if train else ([], []))
    axes[0].set_ylabel("training loss")
    for name, values in tests.items():
        axes[1].plot(*zip(*sorted(values.items()), strict=True), marker=".", label=name)
    if tests:
        axes[1].set_ylabel("test")
        axes[1].legend()
    axes[-1].set_xlabel("iteration")
    for ax in axes:
        ax.grid(alpha=0.3)
    figure.savefig(picture, dpi=100)
    return f"curves: {os.fspath(picture)}"


def curves(log: str | os.PathLike) -> tuple[dict, dict]:
    """The smoothed loss by iteration, and by name the outputs of test nets by iteration.

    What a resumed training did again replaces what the stopped one did.
    """
    train: dict[int, float] = {}
    tests: dict[str, dict[int, float]] = {}
    with open(log, encoding="utf-8") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                # A run that was killed can leave half a line.
                continue
            if record["event"] == "display" and record["smoothed_loss"] is not None:
                train[record["iter"]] = record["smoothed_loss"]
            elif record["event"] == "test":
                for output in record["outputs"]:
                    if output["value"] is not None:
                        name = f"{output['name']} (test net #{record['net']})"
                        tests.setdefault(name, {})[record["iter"]] = output["value"]
    return train, tests
