"""LLM Guard's NoRefusal, as its users know it, with demur in its place."""

import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import demur
from demur.errors import ModelNotFoundError, ShapeError
from demur.integrations._sentences import split
from demur.integrations.llm_guard import MatchType, NoRefusal
from demur.testing import fake_classifier


def scanner(score: Callable[[str], float] | float, threshold: float = 0.75, match_type: str = "full") -> NoRefusal:
    return NoRefusal(model=fake_classifier(score), threshold=threshold, match_type=match_type)


@pytest.mark.parametrize(
    ("score", "threshold", "valid", "risk"),
    [
        (0.02, 0.75, True, -1.0),
        (0.375, 0.75, True, -0.5),
        (0.75, 0.75, True, 0.0),
        (0.754, 0.75, True, 0.0),  # rounded to 0.75, which isn't above the threshold
        (0.756, 0.75, False, 0.0),  # rounded to 0.76
        (0.88, 0.75, False, 0.5),
        (0.9999, 0.75, False, 1.0),
        (0.5, 0.5, True, 0.0),
        (0.51, 0.5, False, 0.0),
        (0.3, 0.9, True, -0.7),
        (1.0, 1.0, True, 0.0),
        (0.0, 0.0, True, 0.0),
        (0.2, 0.0, False, 0.2),
    ],
)
def test_scores_are_rounded_compared_strictly_and_made_a_risk(
    score: float, threshold: float, valid: bool, risk: float
) -> None:
    assert scanner(score, threshold).scan("Pick a lock", "No.") == ("No.", valid, risk)


@pytest.mark.parametrize("blank", ["", " ", "\n\t ", "\u3000\u2003"])
@pytest.mark.parametrize("match_type", ["full", "sentence"])
def test_a_blank_output_is_valid_and_never_judged(blank: str, match_type: str) -> None:
    def never(text: str) -> float:
        raise AssertionError(text)

    assert scanner(never, match_type=match_type).scan("Pick a lock", blank) == (blank, True, -1.0)


def test_the_output_comes_back_as_it_was() -> None:
    output = "  <|user|> I\u2019m SORRY.\n\n[SEP] "
    assert scanner(0.9).scan("?", output)[0] is output
    assert scanner(0.1, match_type="sentence").scan("?", output)[0] is output


def test_a_refusal_in_any_sentence_counts_and_the_first_one_gives_the_risk() -> None:
    def score(text: str) -> float:
        return 0.85 if "first" in text else 0.99 if "second" in text else 0.3

    output = "Well. The first no. The second no. Bye."
    assert scanner(score, match_type="sentence").scan("?", output) == (output, False, 0.4)
    output = "The second no. The first no."
    assert scanner(score, match_type="sentence").scan("?", output) == (output, False, 1.0)


def test_without_a_refusal_the_highest_sentence_gives_the_risk() -> None:
    def score(text: str) -> float:
        return 0.6 if "middle" in text else 0.1

    output = "Start here. The middle part. The end."
    assert scanner(score, match_type="sentence").scan("?", output) == (output, True, -0.2)


def test_sentences_are_judged_apart_and_full_outputs_whole() -> None:
    seen: list[str] = []

    def score(text: str) -> float:
        seen.append(text)
        return 0.1

    scanner(score, match_type="sentence").scan("?", "One two. Three four!")
    assert [sum(word in text for word in ("one", "three")) for text in seen] == [1, 1]
    seen.clear()
    scanner(score, match_type="full").scan("?", "One two. Three four!")
    assert len(seen) == 1
    assert "one" in seen[0]
    assert "three" in seen[0]


def test_sentences_may_be_cut_by_anything() -> None:
    judged = NoRefusal(
        model=fake_classifier(lambda text: 0.9 if text.count("no") == 1 else 0.1),
        match_type="sentence",
        sentences=lambda text: [*text.split("|"), " "],
    )
    assert judged.scan("?", "no|no") == ("no|no", False, 0.6)


def test_the_prompt_is_read_only_where_that_was_asked_for() -> None:
    model = fake_classifier(lambda text: 0.9 if "lock" in text else 0.1)
    for match_type in ("full", "sentence"):
        assert NoRefusal(model=model, match_type=match_type).scan("Pick a lock", "No. Bye.")[1]
        assert not NoRefusal(model=model, match_type=match_type, with_prompt=True).scan("Pick a lock", "No. Bye.")[1]


def test_truncating_reads_the_first_tokens_alone() -> None:
    model = fake_classifier(lambda text: 0.9 if "sorry" in text else 0.1)
    output = "word " * 400 + "sorry"
    assert not NoRefusal(model=model).scan("?", output)[1]  # the end of what is elided is read
    assert NoRefusal(model=model, truncate=128).scan("?", output)[1]
    # The tokenizer's [CLS], the tag <|assistant|>, 125 words and [SEP] are 128 tokens.
    assert not NoRefusal(model=model, truncate=128).scan("?", "word " * 124 + "sorry and more words")[1]
    assert NoRefusal(model=model, truncate=128).scan("?", "word " * 125 + "sorry and more words")[1]
    short = NoRefusal(model=model, truncate=128).scan("?", "I am sorry")
    assert short == NoRefusal(model=model).scan("?", "I am sorry")


@given(st.text(alphabet="ab c.\n\u3000<|>", max_size=600), st.integers(16, 64))
@example("a" + " " * 5000 + "b " * 300, 16)
@example("\u200b" * 3000 + "b " * 300, 16)
def test_a_truncated_text_is_the_beginning_of_the_whole_one(fake: demur.Classifier, text: str, limit: int) -> None:
    model = fake
    if not text or text.isspace():
        return
    whole, cut = model.truncated(model.max_tokens).encode(text), model.truncated(limit).encode(text)
    assert cut == (whole if len(whole) <= limit else [*whole[: limit - 1], whole[-1]])
    verdict = model.truncated(limit).check(text)
    assert (verdict.tokens, verdict.elided > 0) == (len(cut), len(whole) > limit)


def test_a_huge_output_takes_no_more_than_a_long_one(model: demur.Classifier) -> None:
    assert len(model.truncated(128).encode("I will not do that. " * 500_000)) == 128


def test_a_truncated_classifier_keeps_its_limit_when_pickled(model: demur.Classifier) -> None:
    copy = pickle.loads(pickle.dumps(model.truncated(64)))
    assert copy.max_tokens == 64
    assert len(copy.encode("word " * 200)) == 64


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan])
def test_a_threshold_must_be_a_probability(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"threshold is .* from 0 to 1"):
        scanner(0.5, threshold)


class TheirMatchType(Enum):
    """As LLM Guard's own enumeration."""

    SENTENCE = "sentence"
    OTHER = "paragraph"


def test_match_types_are_strings_or_enumerations() -> None:
    model = fake_classifier(lambda text: 0.9 if text.count("no") == 1 else 0.1)
    for match_type in ("sentence", MatchType.SENTENCE, TheirMatchType.SENTENCE):
        assert not NoRefusal(model=model, match_type=match_type).scan("?", "no no. no.")[1]
    for wrong in ("FULL", TheirMatchType.OTHER):
        with pytest.raises(ValueError, match="must be one of 'sentence', 'full'"):
            NoRefusal(model=model, match_type=wrong)


@pytest.mark.parametrize("limit", [15, 513, -1])
def test_a_limit_is_one_that_the_model_has(limit: int) -> None:
    with pytest.raises(ValueError, match=f"max_tokens is {limit}; demur-mini reads from 16 to 512"):
        NoRefusal(model=fake_classifier(), truncate=limit)


def test_a_prompt_and_a_cut_beginning_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="leave it out"):
        NoRefusal(model=fake_classifier(), truncate=128, with_prompt=True)


def test_a_model_is_a_name_a_folder_or_a_classifier(pristine: Path) -> None:
    output = "I'm sorry, but I can't help with that."
    found = [NoRefusal(model=model, use_onnx=True).scan("?", output) for model in (None, "demur-mini", pristine)]
    assert found[0][1] is False
    assert found[0] == found[1] == found[2]
    with pytest.raises(ModelNotFoundError):
        NoRefusal(model="no-such-model")


def test_a_checkpoint_of_llm_guard_is_refused_with_the_way_out() -> None:
    class Model:
        def __str__(self) -> str:
            return "ProtectAI/distilroberta-base-rejection-v1"

    with pytest.raises(TypeError, match=r"Model ProtectAI/distilroberta.*demur-export CHECKPOINT --out FOLDER"):
        NoRefusal(model=Model())  # type: ignore[arg-type]


def test_what_is_no_text_is_an_error() -> None:
    with pytest.raises(ShapeError, match="output is int, expected a string"):
        scanner(0.5).scan("?", 5)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="prompt is int"):
        NoRefusal(model=fake_classifier(), with_prompt=True).scan(5, "No.")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("I can't. Sorry! Why?", ["I can't.", "Sorry!", "Why?"]),
        ("No. I won't.", ["No.", "I won't."]),
        ("Dr. Who met Mr. Smith, e.g. here.", ["Dr. Who met Mr. Smith, e.g. here."]),
        ("Apples, etc. are fine. Pears, etc. Plums.", ["Apples, etc. are fine.", "Pears, etc.", "Plums."]),
        ("Wait... what? Well... No.", ["Wait... what?", "Well...", "No."]),
        ('He said "No." Then left.', ['He said "No."', "Then left."]),
        ("Elle dit : \u00ab Non. \u00bb Puis rien.", ["Elle dit : \u00ab Non. \u00bb", "Puis rien."]),
        ("(I can't.) Sorry.", ["(I can't.)", "Sorry."]),
        ("**No.** I won't.", ["**No.", "** I won't."]),  # as Punkt cuts
        ("J. Smith has 3.5 apples.", ["J. Smith has 3.5 apples."]),
        ("What?! Never!!!\nBye", ["What?!", "Never!!!", "Bye"]),
        ("\u79c1\u306f\u3067\u304d\u307e\u305b\u3093\u3002\u3059\u307f\u307e\u305b\u3093\u3002", None),
        (" \n ", []),
    ],
)
def test_sentences_end_where_punkt_mostly_ends_them(text: str, sentences: list[str] | None) -> None:
    assert list(split(text)) == ([text] if sentences is None else sentences)


@given(st.text(alphabet="aB1 .?!\"')*\n\u201d", max_size=200))
def test_no_character_is_lost_between_sentences(text: str) -> None:
    sentences = list(split(text))
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence and sentence == sentence.strip() for sentence in sentences)


def test_long_runs_take_linear_time_and_llm_guard_itself_is_not_imported() -> None:
    # In a process of its own, since a regular expression that hangs can't be interrupted.
    script = """
import sys
from demur.integrations import _sentences, llm_guard
for line in sys.stdin:
    print(len(list(_sentences.split(line))), flush=True)
print("llm_guard" in sys.modules, "nltk" in sys.modules)
"""
    texts = ["." * 200_000, "." + '"' * 200_000, ". " * 50_000, "x" * 200_000 + "."]
    run = subprocess.run(
        [sys.executable, "-c", script], input="\n".join(texts), capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.splitlines() == ["1", "1", "50000", "1", "False False"]
