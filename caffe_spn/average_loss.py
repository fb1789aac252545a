"""The loss averaged over the last iterations, as `average_loss` asks for.

Source: `Solver::UpdateSmoothedLoss` of BVLC Caffe.
"""

from __future__ import annotations


class AverageLoss:
    """A running mean over the last `window` losses.

    Parameters
    ----------
    window : int
        `average_loss`; 1 shows each loss as it is.

    Attributes
    ----------
    value : float
        The mean so far; 0 before the first loss.
    """

    def __init__(self, window: int = 1):
        self.window = window
        self.value = 0.0
        self._losses: list[float] = []
        self._count = 0

    def add(self, loss: float) -> None:
        """Take the loss of one more iteration in."""
        if len(self._losses) < self.window:
            self._losses.append(loss)
            size = len(self._losses)
            self.value = (self.value * (size - 1) + loss) / size
        else:
            oldest = self._count % self.window
            self.value += (loss - self._losses[oldest]) / self.window
            self._losses[oldest] = loss
        self._count += 1

    def state(self) -> dict:
        """What `restore_state` needs to go on, for JSON."""
        return {"value": self.value, "losses": self._losses, "count": self._count}

    def restore_state(self, state: dict) -> None:
        """Go on from another average's `state`; one of another window is left aside."""
        if len(state["losses"]) <= self.window:
            self.value, self._count = state["value"], state["count"]
            self._losses = list(state["losses"])
