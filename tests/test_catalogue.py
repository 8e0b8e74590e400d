"""The catalogue is sound data, and a checkpoint that is not what it says is refused with both values."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

import demur_models
from demur import _catalogue
from demur._catalogue import Entry
from demur._template import Template, Turn, render
from demur.errors import CheckpointError
from demur_export import templates

ENTRIES = _catalogue.entries()


def test_the_published_models_are_there() -> None:
    assert {name: entry.repository for name, entry in ENTRIES.items()} == {
        "arctic-xs": "agentlans/snowflake-arctic-embed-xs-refusal-classifier",
        "e5-small": "agentlans/multilingual-e5-small-refusal-classifier",
        "distilroberta": "ProtectAI/distilroberta-base-rejection-v1",
        "minos": "NousResearch/Minos-v1",
    }


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_an_entry_is_sound(entry: Entry) -> None:
    assert (demur_models.CATALOGUE / f"{entry.name}.json").is_file()
    assert entry.revision is None or re.fullmatch("[0-9a-f]{40}", entry.revision)
    assert entry.template in templates.TEMPLATES
    assert {*entry.frame, entry.pad_token} <= set(entry.special_tokens)
    assert len(entry.labels) == 2
    assert entry.config_pad_id in (None, entry.special_tokens[entry.pad_token])
    assert entry.architecture != "roberta" or entry.config_pad_id is not None  # its positions depend on it


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("agentlans", "<|system|>be brief<|user|>Hello?<|assistant|>Hi.<|user|>Bye.<|assistant|>Bye."),
        ("minos", "<|user|>\nHello?\n<|assistant|>\nHi.\n<|user|>\nBye.\n<|assistant|>\nBye."),
        ("response-only", "Bye."),
    ],
)
def test_conversations_are_written_as_the_model_was_trained(name: str, expected: str) -> None:
    template = Template(**templates.resolve(name, Path("unread")))
    said = [("system", "be brief"), ("user", "Hello?"), ("assistant", "Hi."), ("user", "Bye."), ("assistant", "Bye.")]
    turns = [Turn(*turn) for turn in said]
    assert render(template.segments(turns)) == expected
    if name != "response-only":
        assert render(template.parse(expected)) == expected
        assert [segment.content for segment in template.parse(expected)][-1] == "Bye."


# A checkpoint against its entry

TINY = Entry(
    name="tiny",
    repository="someone/tiny",
    revision=None,
    licence="MIT",
    languages=("en",),
    parameters=100_000,
    architecture="bert",
    layers=1,
    width=64,
    max_tokens=128,
    pooling=None,
    labels=("Non-refusal", "Refusal"),
    template="agentlans",
    special_tokens={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3},
    frame=("[CLS]", "[SEP]"),
    pad_token="[PAD]",
    config_pad_id=None,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    import _checkpoints

    return _checkpoints.bert(tmp_path_factory.mktemp("tiny"), layers=1)


def _difference(folder: Path, **changed: object) -> str:
    from demur_export import catalogue, checkpoint

    with pytest.raises(CheckpointError) as caught:
        catalogue.check(dataclasses.replace(TINY, **changed), checkpoint.read(folder))  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.export
def test_a_checkpoint_that_is_what_the_catalogue_says_passes(tiny: Path) -> None:
    from demur_export import catalogue, checkpoint

    catalogue.check(TINY, checkpoint.read(tiny))


@pytest.mark.export
@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("architecture", "roberta", "config.json: model_type is 'bert', the catalogue says 'roberta'"),
        ("layers", 6, "config.json: num_hidden_layers is 1, the catalogue says 6"),
        ("width", 384, "config.json: hidden_size is 64, the catalogue says 384"),
        (
            "labels",
            ("Refusal", "Non-refusal"),
            "id2label is ['Non-refusal', 'Refusal'], the catalogue says ['Refusal', ",
        ),
        ("pooling", "mean", "config.json: classifier_pooling is None, the catalogue says 'mean'"),
        ("config_pad_id", 1, "config.json: pad_token_id is 0, the catalogue says 1"),
        ("max_tokens", 512, "tokenizer_config.json: the number of tokens it reads is 128, the catalogue says 512"),
        ("special_tokens", {"[CLS]": 101}, "tokenizer.json: the id of [CLS] is 2, the catalogue says 101"),
        ("special_tokens", {"<s>": 0}, "tokenizer.json: the id of <s> is None, the catalogue says 0"),
        ("frame", ("<s>", "</s>"), "what stands around a text is ['[CLS]', '[SEP]'], the catalogue says ['<s>', "),
        ("pad_token", "<pad>", "tokenizer_config.json: pad_token is '[PAD]', the catalogue says '<pad>'"),
    ],
)
def test_a_difference_names_the_file_and_both_values(tiny: Path, key: str, value: object, told: str) -> None:
    message = _difference(tiny, **{key: value})
    assert message.startswith(f"{tiny}: not the tiny that demur's catalogue describes (")
    assert told in message
    assert message.count("the catalogue says") == 1
    assert "--template agentlans" in message


@pytest.mark.export
def test_the_case_of_labels_is_no_difference(tiny: Path) -> None:
    from demur_export import catalogue, checkpoint

    catalogue.check(dataclasses.replace(TINY, labels=("NON-REFUSAL", "refusal")), checkpoint.read(tiny))


@pytest.mark.export
def test_all_differences_are_told_at_once(tiny: Path) -> None:
    assert _difference(tiny, layers=6, width=384, pad_token="<pad>").count("the catalogue says") == 3


@pytest.mark.export
@pytest.mark.parametrize("where", ["special_tokens_map.json", "tokenizer_config.json"])
def test_the_pad_token_is_found_wherever_it_is_stated(tiny: Path, tmp_path: Path, where: str) -> None:
    import shutil

    folder = shutil.copytree(tiny, tmp_path / "copy")
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        told = {"pad_token": {"content": "<pad>"}} if file == where else {}
        (folder / file).write_text(json.dumps(told))
    assert f"{where}: pad_token is '<pad>', the catalogue says '[PAD]'" in _difference(folder)


@pytest.mark.export
def test_a_config_that_pads_otherwise_than_the_tokenizer_is_no_matter_where_nothing_is_padded(
    tiny: Path, tmp_path: Path
) -> None:
    import _checkpoints

    from demur_export import catalogue, checkpoint

    folder = _checkpoints.bert(tmp_path, layers=1)
    _checkpoints.edit_config(folder, pad_token_id=1)  # as the base of e5-small has 0 where its tokenizer pads with 1
    catalogue.check(TINY, checkpoint.read(folder))
    assert "pad_token_id is 1, the catalogue says 0" in _difference(folder, config_pad_id=0)
