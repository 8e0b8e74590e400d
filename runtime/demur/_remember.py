"""A session that remembers what it was asked last."""

import threading
from collections import OrderedDict
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from demur._session import Session


class Remembering:
    """Runs each text once, as long as it is remembered. Safe to share among threads.

    A text's logits don't depend on when it is run, so that they are the same bits from memory. Two threads that run
    the same new text at the same time both run it.

    Args:
        session: Runs what is not remembered.
        texts: How many texts are remembered; the one that was not asked for longest is forgotten first.
    """

    def __init__(self, session: Session, texts: int) -> None:
        self._session, self._texts = session, texts
        self._known: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def masked(self) -> bool:
        return self._session.masked

    def run(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return logits as `Session.run` does; only single texts without a mask are remembered."""
        if mask is not None or len(token_ids) != 1:
            return self._session.run(token_ids, mask)
        key = blake2b(token_ids.tobytes(), digest_size=16).digest()
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
                return found
        made = self._session.run(token_ids)
        with self._lock:
            self._known[key] = made
            if len(self._known) > self._texts:
                self._known.popitem(last=False)
        return made
