"""Lines go out in their order, as they come, whatever their number and the number of workers."""

import io
import json
from typing import Any

import pytest
from _streams import Tally, score, score_file

from demur import Classifier
from demur.testing import fake_classifier


def _numbered(n: int) -> bytes:
    reply = ("Sure.", "I'm sorry.", "")
    return b"".join(json.dumps({"id": i, "prompt": "Q", "response": reply[i % 3]}).encode() + b"\n" for i in range(n))


def test_workers_do_not_change_the_output(fake: Classifier) -> None:
    data = _numbered(100)
    alone, tally = score(fake, data, workers=1)
    assert [json.loads(line)["id"] for line in alone] == list(range(100))
    assert score(fake, data, workers=2) == (alone, tally)
    assert score(fake, data, workers=5) == (alone, tally)


class _Endless(io.RawIOBase):
    """A pipe of so many lines that are made when they are read; it can't be read twice."""

    def __init__(self, lines: int) -> None:
        self.read_lines, self._lines = 0, lines

    def readline(self, size: int | None = -1, /) -> bytes:
        if self.read_lines == self._lines:
            return b""
        self.read_lines += 1
        return b'{"prompt": "Q", "response": "A"}\n'


class _Target(io.RawIOBase):
    """Where lines go; remembers how far the source was read ahead of them."""

    def __init__(self, source: _Endless) -> None:
        self.lines, self.furthest = 0, 0
        self._source = source

    def write(self, data: Any, /) -> int:
        self.furthest = max(self.furthest, self._source.read_lines - self.lines)
        self.lines += bytes(data).count(b"\n")
        return len(data)


def _pipe(model: Classifier, source: Any, target: Any, workers: int) -> Tally:
    return score_file(model, source, target, workers=workers, turns="last")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_of_any_length_is_read_only_a_few_lines_ahead(workers: int) -> None:
    source = _Endless(20_000)
    target = _Target(source)
    tally = _pipe(fake_classifier(0.9), source, target, workers)
    assert tally == Tally(lines=20_000, refusals=20_000)
    assert target.lines == 20_000
    assert target.furthest <= 8 * workers + 2


def test_one_worker_writes_a_verdict_before_it_reads_the_next_line(fake: Classifier) -> None:
    source = _Endless(50)
    target = _Target(source)
    _pipe(fake, source, target, 1)
    assert target.furthest == 1
