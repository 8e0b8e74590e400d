"""A session that remembers what it was asked last."""

import threading
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from demur._session import Session

# A text is told from others by so many bytes of its hash, and has so many places where it may be kept.
_DIGEST, _PLACES = 16, 8


class _Kept:
    """Logits by the hashes of texts, in a table of sets as processors' caches are: 24 bytes for a text of two logits.

    Objects would take some 400. A set has its texts one behind the other, the one asked for last in front.
    """

    def __init__(self, texts: int, logits: int) -> None:
        self._places = min(texts, _PLACES)
        self._size = _DIGEST + 4 * logits
        self._sets = texts // self._places
        # subtle: zeros from numpy take no memory before they are written to.
        self._bytes = np.zeros(self._sets * self._places * self._size, np.uint8).data

    def find(self, digest: bytes) -> NDArray[np.float32] | None:
        start, end = self._set(digest)
        kept = self._bytes[start:end].tobytes()
        at = kept.find(digest)
        if at < 0 or at % self._size:
            return None
        found = kept[at : at + self._size]
        self._bytes[start : start + len(found) + at] = found + kept[:at]
        return np.frombuffer(found, np.float32, offset=_DIGEST)[None]

    def keep(self, digest: bytes, logits: NDArray[np.float32]) -> None:
        start, end = self._set(digest)
        self._bytes[start:end] = digest + logits.tobytes() + self._bytes[start : end - self._size].tobytes()

    def _set(self, digest: bytes) -> tuple[int, int]:
        length = self._places * self._size
        start = int.from_bytes(digest[:8], "little") % self._sets * length
        return start, start + length


class Remembering:
    """Runs each text once, as long as it is remembered. Safe to share among threads.

    A text's logits don't depend on when it is run, so that they are the same bits from memory. A thread that asks for
    a text that another one runs waits for it.

    Args:
        session: Runs what is not remembered.
        texts: How many texts are remembered, at most. Of the eight that have the same places, the one that was not
            asked for longest is forgotten first. Each takes 24 bytes, however long it is.
    """

    def __init__(self, session: Session, texts: int) -> None:
        self._session, self._texts = session, texts
        self._known: _Kept | None = None
        self._running: dict[bytes, threading.Event] = {}
        self._lock = threading.Lock()

    @property
    def masked(self) -> bool:
        return self._session.masked

    def run(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return logits as `Session.run` does; only single texts without a mask are remembered."""
        if mask is not None or len(token_ids) != 1:
            return self._session.run(token_ids, mask)
        key = blake2b(token_ids.tobytes(), digest_size=_DIGEST).digest()
        while True:
            with self._lock:
                found = None if self._known is None else self._known.find(key)
                if found is not None:
                    return found
                other = self._running.get(key)
                if other is None:
                    done = self._running[key] = threading.Event()
                    break
            other.wait()  # and look again: the run may have failed, or its text be forgotten already
        try:
            made = self._session.run(token_ids)
            with self._lock:
                if self._known is None:
                    self._known = _Kept(self._texts, made.size)
                self._known.keep(key, made)
        finally:
            with self._lock:
                del self._running[key]
            done.set()
        return made
