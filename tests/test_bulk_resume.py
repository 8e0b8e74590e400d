"""A run that ends before its time leaves what the next one goes on with, and nothing that is wrong."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _bulk import do, job, jsonl, read_jsonl, rows

from demur import Classifier
from demur._bulk import _journal
from demur._bulk._outcome import Outcome, unpack
from demur._bulk._perform import perform
from demur.errors import DataError, ResumeError
from demur.testing import fake_classifier


class Halting:
    """Scores texts, and counts them; does something else at the n-th."""

    def __init__(self, at: int | None = None, then: Any = None) -> None:
        self.seen, self._at, self._then = 0, at, then

    def __call__(self, text: str) -> float:
        self.seen += 1
        if self.seen == self._at:
            self._then()
        return 0.99 if "sorry" in text else 0.01


def _power_off() -> None:
    raise RuntimeError("the power is off")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(rows(90)))
    return path


@pytest.fixture
def expected(source: Path, fake: Classifier) -> bytes:
    out = source.with_name("expected.jsonl")
    do(fake, source, out)
    return out.read_bytes()


def _die(source: Path, out: Path, **options: Any) -> None:
    with pytest.raises(RuntimeError, match="the power is off"):
        do(fake_classifier(Halting(40, _power_off)), source, out, **options)


def test_a_resumed_run_judges_only_what_was_not_judged(source: Path, tmp_path: Path, expected: bytes) -> None:
    out = tmp_path / "out.jsonl"
    _die(source, out)
    assert not out.exists()
    score = Halting()
    report = do(fake_classifier(score), source, out, resume=True)
    assert score.seen == 60 - 39
    assert out.read_bytes() == expected
    assert (report.tally.lines, report.tally.refusals, report.tally.failed) == (90, 30, 30)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expected.jsonl", "in.jsonl", "out.jsonl"]


def test_with_nothing_to_resume_it_starts(source: Path, fake: Classifier, tmp_path: Path, expected: bytes) -> None:
    do(fake, source, tmp_path / "out.jsonl", resume=True)
    assert (tmp_path / "out.jsonl").read_bytes() == expected


def test_the_number_of_workers_may_change(source: Path, fake: Classifier, tmp_path: Path, expected: bytes) -> None:
    _die(source, tmp_path / "out.jsonl")
    do(fake, source, tmp_path / "out.jsonl", workers=3, resume=True)
    assert (tmp_path / "out.jsonl").read_bytes() == expected


def test_what_lies_in_the_outputs_place_stays_until_the_new_one_is_whole(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("old")
    _die(source, out)
    assert out.read_text() == "old"


def test_an_unfinished_run_is_not_thrown_away_unasked(source: Path, fake: Classifier, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    _die(source, out)
    with pytest.raises(ResumeError, match="go on with --resume or begin anew with --restart"):
        do(fake, source, out)
    score = Halting()
    do(fake_classifier(score), source, out, restart=True)
    assert score.seen == 60


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"facts": {"model": "other"}}, 'model was "fake", now "other"'),
        ({"facts": {"model": "fake", "threshold": 0.7}}, "threshold was null, now 0.7"),
        ({"every": True}, 'turns was "last", now "all"'),
        ({"max_row_bytes": 9}, "max_row_bytes was null, now 9"),
        ({"drop": "refusals"}, 'drop was null, now "refusals"'),
    ],
)
def test_with_other_options_it_does_not_go_on(
    source: Path, fake: Classifier, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    out = tmp_path / "out.jsonl"
    _die(source, out)
    with pytest.raises(ResumeError, match="can't go on, since this has changed") as raised:
        do(fake, source, out, resume=True, **change)
    assert told in str(raised.value)


def test_with_another_input_it_does_not_go_on(source: Path, fake: Classifier, tmp_path: Path) -> None:
    _die(source, tmp_path / "out.jsonl")
    with source.open("ab") as stream:
        stream.write(b"{}\n")
    with pytest.raises(ResumeError, match=r"inputs\[0\].bytes was \d+, now \d+"):
        do(fake, source, tmp_path / "out.jsonl", resume=True)


def test_an_input_that_was_changed_in_place_is_noticed(source: Path, fake: Classifier, tmp_path: Path) -> None:
    _die(source, tmp_path / "out.jsonl")
    time = source.stat().st_mtime_ns
    source.write_bytes(source.read_bytes().replace(b"Question 5?", b"Question X?"))
    os.utime(source, ns=(time, time))
    with pytest.raises(ResumeError, match="row 6 is not the one that was scored before"):
        do(fake, source, tmp_path / "out.jsonl", resume=True)


def test_two_runs_do_not_write_the_same_output(source: Path, fake: Classifier, tmp_path: Path) -> None:
    made = job([source], tmp_path / "out.jsonl")
    first = _journal.begin(made.output[0].journal, {})
    with pytest.raises(ResumeError, match="another demur is writing this output"):
        perform(fake, made, {})
    first.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_when_it_has_done_what_is_in_hand(
    source: Path, fake: Classifier, tmp_path: Path, expected: bytes, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    signal.signal(number, signal.default_int_handler)
    try:
        score = Halting(20, lambda: os.kill(os.getpid(), number))
        report = do(fake_classifier(score), source, tmp_path / "out.jsonl", workers=2)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert report.signal == number
    assert 20 <= score.seen < 60
    assert not (tmp_path / "out.jsonl").exists()
    rest = Halting()
    do(fake_classifier(rest), source, tmp_path / "out.jsonl", resume=True)
    assert score.seen + rest.seen == 60
    assert (tmp_path / "out.jsonl").read_bytes() == expected


def test_too_many_errors_end_a_run_that_can_be_gone_on_with(
    source: Path, fake: Classifier, tmp_path: Path, expected: bytes
) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(DataError, match="4 rows could not be scored, more than --max-errors allows"):
        do(fake, source, out, max_errors=3)
    do(fake, source, out, max_errors=30, resume=True)
    assert out.read_bytes() == expected


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_a_journal_that_was_cut_anywhere_has_what_was_before_the_cut(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal"
    journal = _journal.begin(path, {"a": 1})
    for i in range(3):
        journal.add(Outcome(error=f"error {i}"), i)
        journal.commit()
    journal.close()
    whole = path.read_bytes()
    ends = list(_ends(path))
    path.write_bytes(whole[:cut])
    again = _journal.resume(path, {"a": 1})
    assert again.rows == max(0, sum(end <= cut for end in ends) - 1)
    assert [stored.mark for stored in again.stored()] == list(range(again.rows))
    again.add(Outcome(error="new"), 9)
    again.commit()
    assert [stored.mark for stored in again.stored()] == [*range(again.rows - 1), 9]
    again.close()


def _ends(path: Path) -> Iterator[int]:
    with path.open("rb", buffering=0) as stream:
        for _, end in _journal._records(stream):
            yield end


def test_an_outcome_is_kept_to_the_bit(model: Classifier) -> None:
    verdict = model.check("I'm sorry, no.")
    for outcome in (Outcome(verdict), Outcome(replies=((1, verdict), (3, verdict))), Outcome(error="why")):
        assert unpack(json.loads(json.dumps(outcome.pack()))) == outcome


def test_a_text_that_comes_again_is_judged_once(tmp_path: Path) -> None:
    same = [{"prompt": "Q", "response": "I'm sorry."}, {"response": "Sure.", "prompt": None}] * 20
    (tmp_path / "in.jsonl").write_bytes(jsonl(same))
    score = Halting()
    do(fake_classifier(score), tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert score.seen == 2
    assert [row["demur"]["refusal"] for row in read_jsonl(tmp_path / "out.jsonl")] == [True, False] * 20
