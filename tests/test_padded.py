"""A bundle for CUDA, as far as a CPU can tell: its graph takes padded texts and gives each the score it has alone."""

from functools import partial
from pathlib import Path

import pytest

import demur
from demur import _bundle
from demur._assemble import assemble
from demur._session import OnnxSession
from demur.errors import ExportError

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]
pytest.importorskip("torch")

import _checkpoints
import _modernbert

from demur_export.options import Options
from demur_export.pipeline import export

TEXTS = ["sorry", "help " * 60, "the answer is that you can", "No.", "a " * 30, "and " * 61]
KINDS = {"bert": _checkpoints.bert, "modernbert": _modernbert.modernbert}


@pytest.fixture(scope="module", params=KINDS)
def bundles(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same checkpoint as a bundle for exact lengths, and as one for padded texts."""
    folder = tmp_path_factory.mktemp("bundles")
    source = KINDS[request.param](folder / "source")
    for padded in (False, True):
        out = folder / f"padded-{padded}"
        export(Options(source, out, template="agentlans", recipe="fp32", padded=padded))
    return folder / "padded-False", folder / "padded-True"


def test_padded_runs_give_the_scores_of_texts_alone(bundles: tuple[Path, Path]) -> None:
    exact = demur.load(bundles[0], threads=1)
    bundle = _bundle.read(bundles[1])
    session = OnnxSession(bundle, "cpu", 1)
    assert session.masked
    shared = assemble(bundle, partial(OnnxSession, bundle, "cpu"), threads=1, threshold=0.5, run_tokens=400)
    for verdict, text in zip(shared.stream(TEXTS), TEXTS, strict=True):
        assert verdict.score == pytest.approx(exact.check(text).score, abs=1e-4)


def test_it_judges_one_text_on_a_cpu_too(bundles: tuple[Path, Path]) -> None:
    exact, padded = (demur.load(folder, threads=1) for folder in bundles)
    assert padded.check("sorry", prompt="why?").score == pytest.approx(
        exact.check("sorry", prompt="why?").score, abs=1e-4
    )


def test_a_graph_for_exact_lengths_refuses_a_mask(bundles: tuple[Path, Path]) -> None:
    import numpy as np

    session = OnnxSession(_bundle.read(bundles[0]), "cpu", 1)
    assert not session.masked
    ids = np.array([[1, 2]])
    with pytest.raises(ValueError, match="this graph takes no mask"):
        session.run(ids, np.ones_like(ids))


def test_padding_is_not_for_int8(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"recipe int8-row is for CPUs.*--padded is for --recipe fp32 or fp16"):
        export(Options(tmp_path, tmp_path / "out", recipe="int8-row", padded=True))
