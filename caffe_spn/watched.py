"""Whoever watches a training: pycaffe's callbacks, and listeners for progress bars and logs."""

from __future__ import annotations

from collections.abc import Callable


class Watched:
    """What a solver offers to those who watch it."""

    def __init__(self):
        self._callbacks: list[tuple[Callable, Callable]] = []
        self._listeners: list = []

    def add_callback(self, on_start, on_gradient=None) -> None:
        """Call ``on_start()`` before each iteration and ``on_gradient()`` before its update.

        One object with the methods ``on_start`` and ``on_gradients_ready``, such as an `NCCL`,
        works too.
        """
        if on_gradient is None:
            on_start, on_gradient = on_start.on_start, on_start.on_gradients_ready
        self._callbacks.append((on_start, on_gradient))

    def add_listener(self, listener) -> None:
        """Tell `listener` what happens, through those of these methods that it has.

        ``on_iteration(iter, loss)`` after each update; ``on_display(event)``,
        ``on_test(event)`` and ``on_snapshot(event)`` with the events of `training_log`.
        """
        self._listeners.append(listener)

    def _starting(self) -> None:
        for on_start, _ in self._callbacks:
            if on_start:  # Caffe's training script has '' where there is nothing to call
                on_start()

    def _gradients_ready(self) -> None:
        for _, on_gradient in self._callbacks:
            if on_gradient:
                on_gradient()

    def _notify(self, event: str, *arguments) -> None:
        for listener in self._listeners:
            method = getattr(listener, event, None)
            if method is not None:
                method(*arguments)
