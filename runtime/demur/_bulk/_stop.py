"""A run that is asked to end finishes what it has in hand."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

_Item = TypeVar("_Item")


class Stop:
    """Whether the run was asked to end.

    Attributes:
        signal: The signal that asked, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def until(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yield the items until the run is asked to end."""
        for item in items:
            if self.signal is not None:
                return
            yield item
            del item

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as requests to end; the second one ends at once.

        Where another thread than the main one runs, signals are not touched.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # What was told to ignore a signal, as nohup tells it, goes on to ignore it.
        before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        before = {n: handler for n, handler in before.items() if handler not in (signal.SIG_IGN, None)}
        for number in before:
            signal.signal(number, self._ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
