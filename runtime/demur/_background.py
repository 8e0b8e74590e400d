"""A function in a thread of its own, without the import of `concurrent.futures`."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class Background(Generic[T]):
    """Calls a function in a thread of its own.

    Args:
        name: The thread's.
        function: What is called.
    """

    def __init__(self, name: str, function: Callable[[], T]) -> None:
        self._function = function
        self._value: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wait(self, seconds: float | None = None) -> None:
        """Wait for the end, however it ends, or for so many seconds."""
        self._thread.join(seconds)

    def result(self) -> T:
        """Wait for the end and return what the function returned, or raise what it raised."""
        self.wait()
        if self._error is not None:
            raise self._error
        return cast(T, self._value)

    def _run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as error:  # raised again where it is waited for
            self._error = error
