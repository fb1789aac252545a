"""What a training shows and writes: a progress bar or Caffe's lines, log files, curves."""

from __future__ import annotations

import logging
import os
import sys

from caffe_spn import training_log
from caffe_spn.training_log import Display, GlogFormatter, JsonLog, Snapshot, Test


class TrainOutput:
    """Listens to a solver; a context manager that closes what it opened.

    Parameters
    ----------
    log : str or path, optional
        Caffe's lines go there, JSON lines to the same name with .jsonl in place of .log.
    terminal : bool, optional
        Whether to show a progress bar instead of lines; by default when stderr is a terminal.
    """

    def __init__(self, log: str | None = None, terminal: bool | None = None):
        self.log = log
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self._bar = None
        self._json: JsonLog | None = None
        self._file: logging.Handler | None = None

    def __enter__(self) -> TrainOutput:
        stream = _AboveBar(self) if self.terminal else None
        shown = training_log.init_log(0, stream)
        if self.terminal:
            shown.setLevel(logging.WARNING)
        if self.log:
            os.makedirs(os.path.dirname(self.log) or ".", exist_ok=True)
            self._file = logging.FileHandler(self.log, encoding="utf-8")
            self._file.setFormatter(GlogFormatter())
            training_log.logger.addHandler(self._file)
            self._json = JsonLog(self.beside(".jsonl"))
        return self

    def __exit__(self, *exception) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._file is not None:
            training_log.logger.removeHandler(self._file)
            self._file.close()
            self._json.close()

    def beside(self, suffix: str) -> str:
        """The name of another file beside the log."""
        return self.log.removesuffix(".log") + suffix

    def follow(self, solver) -> None:
        """Show and write what happens to `solver` from now on."""
        self._solver = solver
        solver.add_listener(self)
        if self._json is not None:
            solver.add_listener(self._json)
        if self.terminal:
            # tqdm costs 50 ms to import, which other commands need not pay.
            from tqdm import tqdm

            self._bar = tqdm(total=solver.param.max_iter, unit="iter", dynamic_ncols=True)

    def say(self, message: str) -> None:
        """One line for the person who watches, above the progress bar or as a log line."""
        if self.terminal:
            print(message, file=_AboveBar(self))
        else:
            training_log.info(message, "train.py")

    def finish(self, solver, finished: bool) -> None:
        """Tell how it ended, and draw the curves."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if not finished:
            self.say(
                f"stopped at iteration {solver.iter} of {solver.param.max_iter};"
                " --resume auto goes on from the newest snapshot"
            )
        if self.log:
            from caffe_spn.tools.loss_plot import plot

            self.say(plot(self.beside(".jsonl"), self.beside(".png")))

    # What a solver tells its listeners

    def on_iteration(self, iteration: int, loss: float) -> None:
        if self._bar is None:
            return
        # A resumed training starts in the middle.
        if self._bar.n == 0 and iteration > 1:
            self._bar.initial = iteration - 1
        self._bar.n = iteration
        average = self._solver.average_loss.value
        self._bar.set_postfix(loss=f"{average:.4g}", lr=f"{self._solver.lr:.3g}", refresh=False)
        self._bar.update(0)

    def on_display(self, event: Display) -> None:
        """The bar shows it already, and the log has it."""

    def on_test(self, event: Test) -> None:
        if self.terminal:
            values = ", ".join(f"{o.name} = {o.value:.4g}" for o in event.outputs)
            self.say(f"iteration {event.iter}, test net #{event.net}: {values}")

    def on_snapshot(self, event: Snapshot) -> None:
        if self.terminal:
            self.say(f"iteration {event.iter}: snapshot {event.state}")


class _AboveBar:
    """A stream to stderr that does not tear the progress bar apart."""

    def __init__(self, output: TrainOutput):
        self._output = output

    def write(self, text: str) -> None:
        if self._output._bar is None:
            sys.stderr.write(text)
        else:
            self._output._bar.write(text, file=sys.stderr, end="")

    def flush(self) -> None:
        sys.stderr.flush()
