"""A session that remembers what it was asked last."""

import threading
from collections import OrderedDict
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from demur._session import Session


class Remembering:
    """Runs each text once, as long as it is remembered. Safe to share among threads.

    A text's logits don't depend on when it is run, so that they are the same bits from memory. A thread that asks for
    a text that another one runs waits for it.

    Args:
        session: Runs what is not remembered.
        texts: How many texts are remembered; the one that was not asked for longest is forgotten first. Each takes
            about 400 bytes, however long it is.
    """

    def __init__(self, session: Session, texts: int) -> None:
        self._session, self._texts = session, texts
        self._known: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._running: dict[bytes, threading.Event] = {}
        self._lock = threading.Lock()

    @property
    def masked(self) -> bool:
        return self._session.masked

    def run(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return logits as `Session.run` does; only single texts without a mask are remembered."""
        if mask is not None or len(token_ids) != 1:
            return self._session.run(token_ids, mask)
        key = blake2b(token_ids.tobytes(), digest_size=16).digest()
        while True:
            with self._lock:
                found = self._known.get(key)
                if found is not None:
                    self._known.move_to_end(key)
                    return found
                other = self._running.get(key)
                if other is None:
                    done = self._running[key] = threading.Event()
                    break
            other.wait()  # and look again: the run may have failed, or its text be forgotten already
        try:
            # subtle: a copy, as what a session returns may hold on to more memory than its own.
            made = self._session.run(token_ids).copy()
            with self._lock:
                self._known[key] = made
                if len(self._known) > self._texts:
                    self._known.popitem(last=False)
        finally:
            with self._lock:
                del self._running[key]
            done.set()
        return made
