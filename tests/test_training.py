"""The default model's data and calibration: what is held out stays out, and what varies a row keeps its meaning."""

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

import demur_models

sys.path.append(str(Path(__file__).resolve().parent.parent / "models" / "training"))

import data
import reshape
import vocabulary


def row(response: str, label: int = 0, *, lang: str = "en", kind: str = "human") -> data.Row:
    return data.Row("How do I open this?", response, label, kind, lang)


def test_topics_that_validate_are_not_trained_on() -> None:
    train, validation = data.read_authored()
    assert {one.topic for one in validation} == data.VALIDATION_TOPICS
    assert not {one.topic for one in train} & data.VALIDATION_TOPICS
    assert {one.label for one in validation} == {0, 1}


@given(st.lists(st.text(min_size=1), min_size=1, max_size=20), st.floats(0, 1))
def test_no_prompt_is_both_trained_on_and_held_out(prompts: list[str], share: float) -> None:
    rows = [data.Row(prompt, "Yes.", 0, "human", "en") for prompt in prompts for _ in range(2)]
    train, validation = data.split(rows, share)
    assert len(train) + len(validation) == len(rows)
    assert not {one.prompt for one in train} & {one.prompt for one in validation}


def test_the_most_trusted_labels_are_taken_first() -> None:
    rows = [row(f"answer {i}", kind=kind) for kind in ("keyword", "human") for i in range(20)]
    few = data.pick(rows, random.Random(0), 10 / data.CAPS["en"][0])
    assert {one.kind for one in few} == {"human"}
    assert len(few) == 10


def test_suspect_labels_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row("Yes, of course."), row("I won't do that.", 1), row("Sorry, no.", 0)]
    suspects = tmp_path / "suspects.json"
    suspects.write_text(json.dumps([data.digest(rows[2])]))
    monkeypatch.setattr(data, "SUSPECTS", suspects)
    assert {one.response for one in data.pick(rows, random.Random(0))} == {"Yes, of course.", "I won't do that."}


@given(st.lists(st.text(min_size=1), min_size=1))
def test_rows_of_a_prompt_are_in_one_fold(prompts: list[str]) -> None:
    for prompt in prompts:
        folds = {data.fold_of(data.Row(prompt, response, 0, "human", "en"), 5) for response in ("a", "b")}
        assert len(folds) == 1
        assert folds <= set(range(5))


@given(st.text(min_size=1).filter(str.strip), st.sampled_from([0, 1]), st.integers(0, 99))
def test_reshaping_leaves_a_text_with_its_label_and_never_an_empty_one(text: str, label: int, seed: int) -> None:
    rows = [
        row(text, label),
        row("First do this. Then do that. " * 9),
        row("I won't. It is not for me to say. " * 9, 1),
    ]
    shaped = reshape.reshape(rows, random.Random(seed))
    assert [one.label for one in shaped] == [one.label for one in rows]
    assert [one.prompt for one in shaped] == [one.prompt for one in rows]
    assert all(one.response.strip() for one in shaped[1:])


@given(st.text(), st.integers(0, 99))
def test_a_list_has_all_that_the_text_had(text: str, seed: int) -> None:
    told = reshape._lay_out(f"{text} One. Two! Three? Four.", random.Random(seed))
    assert [c for c in told if c.isalpha()] == [c for c in f"{text} One. Two! Three? Four." if c.isalpha()]


def test_sentences_become_a_list() -> None:
    told = {reshape._lay_out("Sure. Cut it. Bake it. Eat it. Enjoy!", random.Random(seed)) for seed in range(40)}
    assert any("\n1. " in text and "\n2. " in text for text in told)
    assert all(text.startswith("Sure.") and "\n\n" in text for text in told)


@given(st.text(), st.integers(0, 99))
def test_an_aside_takes_nothing_away(text: str, seed: int) -> None:
    told = reshape._interject(text, "Sorry.", random.Random(seed))
    assert "Sorry." in told
    assert told.replace("Sorry.", "", 1).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("lang", reshape.ENDINGS)
def test_an_ending_is_added_to_either_label_and_takes_nothing_away(lang: str, label: int) -> None:
    closed = [reshape.close(row("Yes.  ", label, lang=lang), random.Random(seed)).response for seed in range(60)]
    longer = [text for text in closed if text != "Yes.  "]
    assert 0 < len(longer) < 40
    assert all(text.startswith("Yes.") and text[4:].strip() in reshape.ENDINGS[lang] for text in longer)


def test_a_row_that_needs_its_prompt_keeps_it() -> None:
    short = data._row({"kind": "short-answer", "prompt": "Is it?", "response": "No.", "label": 0, "topic": "law"})
    for seed in range(30):
        ((turns, _),) = data.vary([short], random.Random(seed))
        assert any(turn.content == "Is it?" for turn in turns)


@pytest.mark.export
def test_the_temperature_undoes_a_scale() -> None:
    calibrate = _calibrate()
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, 20_000)
    y = (rng.random(len(z)) < 1 / (1 + np.exp(-z))).astype(int)
    weights = np.full(len(z), 1 / len(z))
    for scale in (0.5, 1, 3):
        assert calibrate.temperature(z * scale, y, weights) == pytest.approx(scale, rel=0.05)


@pytest.mark.export
def test_operating_points_keep_what_they_promise() -> None:
    calibrate = _calibrate()
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 4000)
    z = rng.normal(np.where(y == 1, 2, -2), 1.5)
    points = calibrate.operating_points(z, y, np.full(len(y), 1 / len(y)))
    p = 1 / (1 + np.exp(-z))
    assert np.mean(y[p >= points["high-precision"]]) >= 0.98
    assert np.mean(p[y == 1] >= points["high-recall"]) >= 0.98
    assert points["high-recall"] < 0.5 < points["high-precision"]


def _calibrate():  # type: ignore[no-untyped-def]
    pytest.importorskip("torch")
    import calibrate

    return calibrate


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(demur_models.FOLDER / demur_models.DEFAULT / "tokenizer.json"))


def test_pieces_of_a_language_are_learnt_for_entries_that_english_does_not_use(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    rows = [
        data.Row("Πώς ανοίγω μια κλειδαριά;", "Δεν μπορώ να βοηθήσω με κλειδαριές.", 1, "human", "el"),
        data.Row("How do I open a lock?", "I can't help with locks.", 1, "human", "en"),
    ]
    words = vocabulary.count_words(rows, tokenizer)
    assert words["el"]["κλειδαριες"] == 1
    learned = vocabulary.learn(words, tokenizer, 20)
    places = dict(zip(learned, vocabulary.unused_entries(words, tokenizer), strict=False))
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    vocabulary.replace(path, places)
    after = Tokenizer.from_file(str(path))
    assert after.get_vocab_size() == tokenizer.get_vocab_size()
    assert after.encode(rows[1].response).ids == tokenizer.encode(rows[1].response).ids
    assert len(after.encode(rows[0].response).ids) < len(tokenizer.encode(rows[0].response).ids) * 2 / 3
    assert after.decode(after.encode(rows[0].response).ids) == tokenizer.decode(tokenizer.encode(rows[0].response).ids)


def test_a_new_piece_starts_as_the_mean_of_what_spelled_it(tokenizer: Tokenizer) -> None:
    entries = tokenizer.get_vocab(with_added_tokens=False)
    table = np.random.default_rng(0).random((len(entries), 4), np.float32)
    assert vocabulary.spell("##locks", entries) == [entries["##lock"], entries["##s"]]
    assert vocabulary.spell("locksmiths", entries) == [entries["locks"], entries["##mith"], entries["##s"]]
    assert vocabulary.spell("\U0010ffff", entries) == []
    made = vocabulary.embeddings(table, {"##locks": 999}, tokenizer)
    assert np.allclose(made[999], (table[entries["##lock"]] + table[entries["##s"]]) / 2)
    assert np.array_equal(np.delete(made, 999, 0), np.delete(table, 999, 0))


def test_letters_and_tags_keep_their_entries(tokenizer: Tokenizer) -> None:
    free = vocabulary.unused_entries({}, tokenizer)
    kept = [tokenizer.id_to_token(i) for i in set(range(tokenizer.get_vocab_size())) - set(free)]
    assert {"a", "##a", "[CLS]", "[UNK]", "<|user|>"} <= set(kept)
    assert tokenizer.token_to_id("locksmith") in free or tokenizer.token_to_id("locksmith") is None
