"""The public seam: a classifier without a model."""

import pickle

import pytest

from demur.testing import FakeSession, fake_classifier


def test_scores_follow_the_text() -> None:
    model = fake_classifier(lambda text: 0.9 if "sorry" in text else 0.2)
    assert model.check("I'm sorry, no.").score == pytest.approx(0.9)
    assert model.check("Sure.").score == pytest.approx(0.2)


def test_the_text_is_what_the_model_would_read() -> None:
    seen: list[str] = []
    model = fake_classifier(lambda text: seen.append(text) or 0.5)
    model.check("Fine.", prompt="How are you?")
    assert seen == ["[CLS] <|user|> how are you? <|assistant|> fine. [SEP]"]


def test_a_constant_score_may_be_certain() -> None:
    assert fake_classifier(1.0).check("x").score == pytest.approx(1, abs=1e-5)


def test_a_fake_with_a_constant_score_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(fake_classifier(0.75))).check("x").score == pytest.approx(0.75)


def test_a_session_remembers_what_it_ran() -> None:
    import numpy as np

    session = FakeSession(lambda ids: 0.5, labels=3, refusal=2)
    found = session.run(np.array([[1, 2]]))
    assert np.exp(found[0, 2]) / np.exp(found[0]).sum() == pytest.approx(0.5)
    assert [array.tolist() for array in session.seen] == [[[1, 2]]]
