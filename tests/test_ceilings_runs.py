"""What a run goes through, and how many runs texts take: nothing left to fuse, no text run twice or padded."""

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnxruntime as ort
import pytest
from _ceilings import NODES

from demur import _session
from demur._bundle import find, read
from demur._classifier import Classifier
from demur._tokenizer import Tokenizer
from demur.testing import FakeSession

Level = ort.GraphOptimizationLevel
# Replies of 8, 8, 8, 11, 13 and 8 tokens with what stands around them; the last is the first again.
ROWS = ["One two three.", "Four five six.", "Ten two one.", "And so it goes on and on.", "a b c d e f g h i j k."]
ROWS = [*ROWS, ROWS[0]]


def executed(level: Level, folder: Path) -> Counter[str]:
    """Return how many nodes of each operator one run executes, as onnxruntime's own profile tells."""
    made = _session.options(1, saturating=False)
    made.graph_optimization_level = level
    made.enable_profiling, made.profile_file_prefix = True, str(folder / "profile")
    session = ort.InferenceSession(str(read(find(None)).model.path), made, providers=["CPUExecutionProvider"])
    session.run([_session.OUTPUT], {_session.INPUT: [[101, *range(2000, 2030), 102]]})
    events = json.loads(Path(session.end_profiling()).read_text())
    return Counter(
        event["args"]["op_name"]
        for event in events
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time")
    )


def test_the_shipped_graph_has_no_more_nodes_than_it_had(tmp_path: Path) -> None:
    assert not executed(Level.ORT_DISABLE_ALL, tmp_path) - NODES


@pytest.mark.parametrize("level", [Level.ORT_ENABLE_EXTENDED, Level.ORT_ENABLE_ALL], ids=["extended", "all"])
def test_onnxruntime_finds_nothing_to_optimise_at_load(level: Level, tmp_path: Path) -> None:
    """So that loading without its optimiser, which is quicker, gives nothing away."""
    assert executed(level, tmp_path) == executed(Level.ORT_DISABLE_ALL, tmp_path)


def classifier(run_tokens: int | None, session: FakeSession) -> Classifier:
    bundle = read(find(None))
    open_session: Callable[[int], FakeSession] = lambda threads: session  # noqa: E731
    made = partial(Classifier, bundle, Tokenizer(bundle.tokenizer.path), open_session)
    return made(threads=1, threshold=0.5, run_tokens=run_tokens)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_text_has_one_run_of_its_own_length(workers: int) -> None:
    session = FakeSession(lambda ids: 0.5)
    verdicts = list(classifier(None, session).stream(ROWS, workers=workers))
    assert sorted(ids.shape for ids in session.seen) == sorted((1, verdict.tokens) for verdict in verdicts)
    assert len({verdict.tokens for verdict in verdicts}) == 3


def test_texts_that_come_again_run_once_where_they_are_remembered() -> None:
    session = FakeSession(lambda ids: 0.5)
    verdicts = list(classifier(None, session).remembering(100).stream(ROWS * 50, workers=1))
    assert len(verdicts) == len(ROWS) * 50
    assert len(session.seen) == len(set(ROWS))


def test_runs_that_texts_share_are_few_and_hold_little_padding() -> None:
    session = FakeSession(lambda ids: 0.5)
    verdicts = list(classifier(64, session).stream(ROWS * 8, workers=1))
    tokens = sum(verdict.tokens for verdict in verdicts)
    assert len(session.seen) <= 9
    assert sum(ids.size for ids in session.seen) <= 1.05 * tokens
