"""An emulated GPU whose streams run apart: what is not ordered by an event comes out wrong."""

from __future__ import annotations

from collections import deque

from tests.cuda.emulation.driver import EmulatedDriver


class LateStreams(EmulatedDriver):
    """A driver that does what is enqueued on some streams as late as it may.

    Parameters
    ----------
    late : str
        "first" for the stream that was made first, on which the layers compute, "others" or "all".
        The rest is done at once, after what it waits for.
    """

    def __init__(self, late: str):
        super().__init__()
        self._late = late
        self._streams: list = []

    def new_stream(self):
        stream = super().new_stream()
        stream.queue = deque()
        stream.late = self._late in ("all", "others" if self._streams else "first")
        self._streams.append(stream)
        return stream

    def new_event(self, timing=False):
        event = super().new_event(timing)
        event.recorded = event.happened = 0
        event.stream = None
        return event

    def enqueue(self, stream, action) -> None:
        if stream is None:
            self.synchronize()
            action()
        elif stream.captured is not None:
            super().enqueue(stream, action)
        else:
            stream.queue.append(action)
            if not stream.late:
                self._drain(stream)

    def record(self, event, stream) -> None:
        self._refuse_captured(stream, "record")
        event.recorded += 1
        event.stream, number = stream, event.recorded
        self.enqueue(stream, lambda: setattr(event, "happened", number))

    def wait(self, stream, event) -> None:
        self._refuse_captured(stream, "wait")
        number = event.recorded
        self.enqueue(stream, lambda: self._until(event, number))

    def synchronize(self, what=None) -> None:
        super().synchronize(what)
        if hasattr(what, "happened"):
            self._until(what, what.recorded)
        for stream in self._streams if what is None else [what] if hasattr(what, "queue") else []:
            self._drain(stream)

    def free(self, address: int) -> None:
        self.synchronize()
        super().free(address)

    def _until(self, event, number: int) -> None:
        while event.happened < number:
            event.stream.queue.popleft()()

    def _drain(self, stream) -> None:
        while stream.queue:
            stream.queue.popleft()()
