"""What Ctrl-C (SIGINT) and a hang-up (SIGHUP) do to a running training.

A handler only notes that the signal came; the solver asks between iterations and during tests, so
that weights are never left half updated. A second Ctrl-C interrupts at once.

Source: `SignalHandler` of BVLC Caffe.
"""

from __future__ import annotations

import signal
import threading

from caffe_spn.errors import CaffeSpnError

STOP, SNAPSHOT, NONE = "stop", "snapshot", "none"
EFFECTS = (STOP, SNAPSHOT, NONE)


class SignalHandler:
    """Notes signals while it is active, as a context manager; puts the old handlers back.

    Parameters
    ----------
    sigint_effect, sighup_effect : {'stop', 'snapshot', 'none'}
        What `requested_action` answers after the signal. `none` leaves the signal alone.

    Notes
    -----
    Python lets only the main thread handle signals; in another one this does nothing.
    """

    def __init__(self, sigint_effect: str = STOP, sighup_effect: str = SNAPSHOT):
        for name, effect in (("sigint", sigint_effect), ("sighup", sighup_effect)):
            if effect not in EFFECTS:
                raise CaffeSpnError(
                    f"{name}_effect is '{effect}'", help=f"one of: {', '.join(EFFECTS)}"
                )
        self._effects = {signal.SIGINT: sigint_effect}
        if hasattr(signal, "SIGHUP"):  # Windows has none
            self._effects[signal.SIGHUP] = sighup_effect
        self._pending: set[int] = set()
        self._stopping = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> SignalHandler:
        if threading.current_thread() is threading.main_thread():
            for number, effect in self._effects.items():
                if effect != NONE:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            # None stands for a handler that was not installed from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def requested_action(self) -> str:
        """The effect of a signal that came since the last call, or 'none'; SIGINT first."""
        for number, effect in self._effects.items():
            if number in self._pending:
                self._pending.remove(number)
                return effect
        return NONE

    def _note(self, number, frame) -> None:
        if number == signal.SIGINT and (self._stopping or number in self._pending):
            raise KeyboardInterrupt
        self._stopping |= number == signal.SIGINT and self._effects[number] == STOP
        self._pending.add(number)
