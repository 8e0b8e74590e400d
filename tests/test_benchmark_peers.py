"""The peers of `demur score`: they do its job, every row in its place, whatever the order they take."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not in the sdist", allow_module_level=True)
sys.path.append(str(BENCHMARKS))

import _bulk_peers
from _bulk_peers import Peer, Way

ROWS = [{"prompt": f"Question {i}?", "response": "x" * length} for i, length in enumerate([30, 5, 20, 5, 40, 1, 9])]


class Pipeline:
    """Judges texts by their length, as a pipeline would: the likeliest label first."""

    def __init__(self) -> None:
        self.read: list[list[str]] = []

    def __call__(self, texts: list[str], **asked: Any) -> list[list[dict[str, Any]]]:
        assert asked["truncation"] is True
        assert asked["top_k"] is None
        self.read.append(texts)
        refusals = [len(text) / 100 for text in texts]
        found = [[("Refusal", p), ("Non-refusal", 1 - p)] for p in refusals]
        return [[{"label": name, "score": p} for name, p in sorted(both, key=lambda one: -one[1])] for both in found]


@pytest.mark.parametrize("by_length", [False, True])
def test_each_row_gets_its_own_probability_of_a_refusal(by_length: bool) -> None:
    pipeline = Pipeline()
    peer = Peer(pipeline)
    peer.way = Way(8, by_length)

    found = peer.scores(ROWS)
    (read,) = pipeline.read
    assert read[0 if not by_length else -2].startswith("<|user|>Question 0?<|assistant|>xxx")
    assert (read == sorted(read, key=len)) is by_length
    head = len("<|user|>Question 0?<|assistant|>")
    assert found == [(head + len(row["response"])) / 100 for row in ROWS]


def test_the_fastest_way_is_taken() -> None:
    peer = Peer(Pipeline())

    took = peer.trial(ROWS)
    assert list(took) == ["1", "8", "8, sorted", "32", "32, sorted"]
    assert str(peer.way) in took
    assert took[str(peer.way)] == min(took.values())


@pytest.mark.parametrize("processes", [1, 2])
def test_a_file_comes_out_with_a_score_for_each_row(processes: int, tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="needs datasets")
    source, out = tmp_path / "in.jsonl", tmp_path / "out.peer"
    source.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    peer = Peer(Pipeline())

    _bulk_peers.score_file(peer, source, out, processes)
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [{key: row[key] for key in ("prompt", "response")} for row in found] == ROWS
    assert [row["score"] for row in found] == peer.scores(ROWS)
