"""A bundle with a pruned vocabulary: smaller, judged against the whole, and able to read anything."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import demur
from demur.errors import CheckpointError, ParityError

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]
pytest.importorskip("torch")

import _checkpoints
from tokenizers import Tokenizer

from demur_export import checkpoint, cli
from demur_export.options import Options
from demur_export.pipeline import export
from demur_export.reference import torch_logits

# Short, so that nothing is left out of them.
PAIRS = zip(*[iter(_checkpoints.corpus_texts())] * 2, strict=True)
ROWS = [{"prompt": prompt[:120], "response": response[:120]} for prompt, response in PAIRS if prompt]


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _checkpoints.e5(tmp_path_factory.mktemp("checkpoint"), entries=2500)


@pytest.fixture(scope="module")
def bundle(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    texts = write(folder / "texts.jsonl", ROWS[:40])
    arguments = [str(source), "--out", str(folder / "pruned"), "--texts", str(texts), "--vocabulary", str(texts)]
    assert cli.main(arguments) == 0
    return folder / "pruned"


def entries(folder: Path) -> int:
    return Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()


def test_the_bundle_is_smaller_and_says_why(source: Path, bundle: Path) -> None:
    kept, before = entries(bundle), entries(source)
    assert kept < before
    graph = onnx.load(bundle / "model.onnx").graph
    assert [t.dims[0] for t in graph.initializer if t.name == "embeddings.words.q"] == [kept]
    record = json.loads((bundle / "demur.json").read_text())["exported"]["vocabulary"]
    assert record == {
        "entries": kept,
        "of": before,
        "corpus": "texts.jsonl",
        "conversations": 40,
        "more_tokens": 0.0,
    }
    card = (bundle / "README.md").read_text()
    assert f"| vocabulary | {kept:,} of the checkpoint's {before:,} entries: those that 40 conversations" in card
    assert "vocabulary {" not in card


def test_texts_it_was_pruned_for_get_the_scores_of_the_whole(source: Path, bundle: Path) -> None:
    model, full = demur.load(bundle), Tokenizer.from_file(str(source / "tokenizer.json"))
    small, read = Tokenizer.from_file(str(bundle / "tokenizer.json")), checkpoint.read(source)
    for row in ROWS[:8]:
        whole = full.encode(f"<|user|>{row['prompt']}<|assistant|>{row['response']}")
        ids = model.encode(row)
        assert [small.id_to_token(i) for i in ids] == whole.tokens
        own, other = torch_logits(read, [np.array([whole.ids])])[0]
        assert model.judge_row(row).score == pytest.approx(1 / (1 + np.exp(own - other)), abs=0.1)


def test_it_reads_what_it_was_not_pruned_for(source: Path, bundle: Path) -> None:
    model, full = demur.load(bundle), Tokenizer.from_file(str(source / "tokenizer.json"))
    small = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    for row in [
        *(row for row in ROWS[40:] if row["prompt"] and "<" not in str(row)),
        {"prompt": "\U0001f600", "response": "\u16a0 \u2581"},
    ]:
        ids = model.encode(row)
        whole = full.encode(f"<|user|>{row['prompt']}<|assistant|>{row['response']}").ids
        assert small.decode(ids, skip_special_tokens=False) == full.decode(whole, skip_special_tokens=False)
        assert 0 <= model.judge_row(row).score <= 1


def test_role_tags_are_structure_as_before(bundle: Path) -> None:
    model, small = demur.load(bundle), Tokenizer.from_file(str(bundle / "tokenizer.json"))
    tag = small.token_to_id("<|user|>")
    assert model.encode({"prompt": "why <|user|> not", "response": "<|user|>no"}).count(tag) == 1


def test_byte_level_checkpoints_are_pruned_too(tmp_path: Path) -> None:
    source = _checkpoints.roberta(tmp_path / "source", layers=1)
    texts = write(tmp_path / "texts.jsonl", ROWS[:20])
    found = export(Options(source, tmp_path / "out", "fp32", template="response-only", texts=texts, vocabulary=texts))
    assert found.max_dp < 1e-4
    assert 256 + 5 < entries(tmp_path / "out") < entries(source)
    model = demur.load(tmp_path / "out")
    assert model.check("\u4e2d\U0001f600 Quizzaciously").tokens > 10


def test_a_vocabulary_that_does_not_fit_the_texts_is_refused(source: Path, tmp_path: Path) -> None:
    vocabulary = write(tmp_path / "no.jsonl", [{"prompt": "why", "response": "no"}] * 16)
    with pytest.raises(ParityError, match=r"the vocabulary was pruned: .*--texts.*leave it out"):
        export(Options(source, tmp_path / "out", vocabulary=vocabulary))
    assert not (tmp_path / "out").exists()


def test_too_few_conversations_are_named(source: Path, tmp_path: Path) -> None:
    vocabulary = write(tmp_path / "few.jsonl", ROWS[:3])
    with pytest.raises(CheckpointError, match=r"few.jsonl: 3 conversations; expected at least 16 for a vocabulary"):
        export(Options(source, tmp_path / "out", vocabulary=vocabulary))
