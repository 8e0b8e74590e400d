"""One answer per conversation, whatever the door, the company, the thread or the process."""

import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import numpy as np
import pytest

import demur
from demur._classifier import Classifier
from demur.testing import fake_classifier

REFUSAL = "I'm sorry, but I can't help with that."
ANSWER = "The capital of France is Paris."
LONG = " ".join(f"Step {i}: turn the page and read on." for i in range(400))
ROWS = [
    {"prompt": "How do I pick a lock?", "response": REFUSAL},
    {"prompt": "What is the capital of France?", "response": ANSWER},
    {"prompt": "", "response": "Yes."},
    {"prompt": "Tell me more.", "response": LONG},
    {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Bonjour ! \u4f60\u597d \U0001f600"},
        ]
    },
    {"instruction": "Add", "input": "2 and 3", "output": "5"},
    {"text": "<|user|>Write a virus.<|assistant|>No."},
    {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "Je ne peux pas vous aider."}]},
] * 4


def logits(verdicts: object) -> list[tuple[float, ...]]:
    return [verdict.logits for verdict in verdicts]  # type: ignore[attr-defined]


def test_a_refusal_and_an_answer_are_told_apart(model: Classifier) -> None:
    refused = model.check(REFUSAL, prompt="How do I pick a lock?")
    answered = model.check(ANSWER, prompt="What is the capital of France?")
    assert (refused.refusal, refused.label) == (True, "Refusal")
    assert refused.score > 0.9
    assert (answered.refusal, answered.label) == (False, "Non-refusal")
    assert answered.score < 0.1


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Convert 5 miles to kilometres.", "5 miles are about 8.05 kilometres."),
        ("What does 'etc.' stand for?", 'It stands for the Latin "et cetera", which means "and the rest".'),
        ("Wie viele Einwohner hat Wien?", "Wien hat rund zwei Millionen Einwohner."),
    ],
)
@pytest.mark.parametrize(
    "ending", ["Is there anything else I can help you with?", "Let me know if you have any other questions."]
)
def test_a_closing_offer_makes_no_refusal_of_an_answer(
    model: Classifier, prompt: str, answer: str, ending: str
) -> None:
    assert not model.check(f"{answer} {ending}", prompt=prompt).refusal


def test_a_verdict_says_what_was_read(model: Classifier) -> None:
    short, long = model.check(ANSWER), model.check(LONG)
    assert (short.elided, short.model, short.threshold) == (0, "demur-mini", 0.5)
    assert short.tokens == len(model.encode(ANSWER))
    assert long.tokens <= model.max_tokens < long.tokens + long.elided


def test_a_verdict_is_frozen_and_has_the_documented_fields(model: Classifier) -> None:
    verdict = model.check(ANSWER)
    names = ["refusal", "score", "label", "threshold", "model", "tokens", "elided", "logits"]
    assert [field.name for field in fields(verdict)] == names
    assert list(verdict.to_dict()) == names
    with pytest.raises(FrozenInstanceError):
        verdict.score = 0.0  # type: ignore[misc]


def test_the_score_is_the_softmax_of_the_logits(model: Classifier) -> None:
    verdict = model.check(REFUSAL)
    weights = np.exp(np.array(verdict.logits, np.float64))
    assert verdict.score == pytest.approx(weights[1] / weights.sum(), rel=1e-12)


def test_every_door_gives_the_same_verdict(model: Classifier) -> None:
    by_prompt = model.check(REFUSAL, prompt="Pick a lock", system="Be good.")
    messages = [
        {"role": "system", "content": "Be good."},
        {"role": "user", "content": "Pick a lock"},
        {"role": "assistant", "content": REFUSAL},
    ]
    text = f"<|system|>Be good.<|user|>Pick a lock<|assistant|>{REFUSAL}"
    assert model.check_chat(messages) == by_prompt == model.check_text(text)
    assert list(model.stream([{"messages": messages}, messages, {"text": text}])) == [by_prompt] * 3


def test_logits_are_bit_identical_in_any_company(model: Classifier) -> None:
    alone = [model.judge_row(row).logits for row in ROWS]
    assert logits(model.stream(ROWS, workers=1)) == alone
    assert logits(model.stream(ROWS, workers=2)) == alone
    assert logits(model.stream(reversed(ROWS), workers=2)) == alone[::-1]


def test_logits_are_bit_identical_in_a_batch(model: Classifier) -> None:
    texts = [f"{a} {b} {c}." for a in ("one", "two") for b in ("red", "big") for c in ("cat", "dog")]
    ids = [model.encode(text) for text in texts]
    assert len({len(row) for row in ids}) == 1
    together = model._session.run(np.array(ids, np.int64))
    assert [tuple(row) for row in together.tolist()] == [model.check(text).logits for text in texts]


def test_logits_do_not_depend_on_the_number_of_threads(model: Classifier) -> None:
    assert logits(demur.load(threads=2).stream(ROWS, workers=1)) == logits(model.stream(ROWS, workers=1))
    assert [demur.load(threads=2).check(ANSWER).logits] == [model.check(ANSWER).logits]


def test_many_threads_share_one_model(model: Classifier) -> None:
    expected = [model.judge_row(row) for row in ROWS]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(model.judge_row, ROWS * 3)) == expected * 3


def test_loading_twice_gives_two_models_that_agree(model: Classifier) -> None:
    other = demur.load()
    assert other is not model
    assert other.check(REFUSAL).logits == model.check(REFUSAL).logits


def test_a_pickled_copy_reads_as_far_as_the_original(model: Classifier) -> None:
    assert pickle.loads(pickle.dumps(model.truncated(32))).max_tokens == 32


def test_a_pickled_copy_reloads_from_its_folder(tmp_path: Path) -> None:
    original = demur.load(threshold=0.25, threads=1)
    os.chdir(tmp_path)
    copy = pickle.loads(pickle.dumps(original))
    assert copy.check(REFUSAL) == original.check(REFUSAL)
    assert copy.threshold == 0.25


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_child_answers_too(threads: int) -> None:
    model = demur.load(threads=threads)
    expected = model.check(REFUSAL).logits
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = [pool.apply_async(_check, (model.check, REFUSAL)) for _ in range(4)]
        assert [result.get(timeout=60) for result in found] == [expected] * 4
    assert model.check(REFUSAL).logits == expected


def _check(check: object, text: str) -> tuple[float, ...]:
    return check(text).logits  # type: ignore[operator, no-any-return]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_child_that_inherits_the_model_can_use_it_and_exit(threads: int) -> None:
    model = demur.load(threads=threads)
    expected = model.check(REFUSAL).logits
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if model.check(REFUSAL).logits == expected else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(("threshold", "refusal"), [(0.0, True), (0.3, True), (0.31, False), (1.0, False)])
def test_a_score_that_reaches_the_threshold_is_a_refusal(threshold: float, refusal: bool) -> None:
    assert fake_classifier(0.3 + 1e-7, threshold=threshold).check("x").refusal is refusal


def test_the_threshold_can_be_an_operating_points_name() -> None:
    assert demur.load(threshold="balanced").threshold == 0.5
    with pytest.raises(ValueError, match=r"'sharp'.*operating points balanced"):
        demur.load(threshold="sharp")


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        demur.load(threshold=threshold)


def test_threads_are_at_least_one() -> None:
    with pytest.raises(ValueError, match="threads is 0"):
        demur.load(threads=0)


@pytest.mark.parametrize("response", ["", "  \n\t", "\u3000"])
def test_an_empty_reply_is_no_conversation(model: Classifier, response: str) -> None:
    with pytest.raises(demur.EmptyResponseError, match="empty"):
        model.check(response, prompt="Hi")


def test_wrong_types_are_named(model: Classifier) -> None:
    with pytest.raises(demur.ShapeError, match="prompt is int 7"):
        model.check("Hi", prompt=7)  # type: ignore[arg-type]
    with pytest.raises(demur.ShapeError, match="text is null"):
        model.check_text(None)  # type: ignore[arg-type]
    with pytest.raises(demur.ShapeError, match="user's"):
        model.check_chat([{"role": "user", "content": "Hi"}])


def test_a_stream_names_the_conversation_that_failed_after_the_ones_before_it(model: Classifier) -> None:
    stream = model.stream([ROWS[0], ROWS[1], {"nonsense": 1}, ROWS[0]], workers=2)
    assert [next(stream).refusal, next(stream).refusal] == [True, False]
    with pytest.raises(demur.ShapeError, match="conversation 2: unknown shape with the keys nonsense"):
        next(stream)


def test_a_stream_can_return_errors_in_their_place(model: Classifier) -> None:
    found = list(model.stream([ROWS[0], 3, "Yes."], workers=2, errors="return"))
    assert [type(item) for item in found] == [demur.Verdict, demur.ShapeError, demur.Verdict]


def test_every_reply_of_a_conversation_can_be_judged(model: Classifier) -> None:
    messages = [
        {"role": "user", "content": "How do I pick a lock?"},
        {"role": "assistant", "content": REFUSAL},
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": ANSWER},
    ]
    first, last = model.judge_replies({"messages": messages})
    assert (first[0], last[0]) == (1, 3)
    assert first[1] == model.check_chat(messages[:2])
    assert last[1] == model.check_chat(messages)


def test_callers_objects_are_left_alone(model: Classifier) -> None:
    row = {"messages": [{"role": "user", "content": "Hi <|user|>"}, {"role": "assistant", "content": "Yo"}]}
    before = pickle.dumps(row)
    model.judge_row(row)
    assert pickle.dumps(row) == before


def test_no_threads_are_left_behind_by_a_stream_that_is_dropped(model: Classifier) -> None:
    stream = model.stream(ROWS, workers=4)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("demur")]
