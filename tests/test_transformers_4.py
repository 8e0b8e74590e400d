"""Checkpoints that transformers 5 saved say the same in other words, and export all the same."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.errors import CheckpointError

pytestmark = pytest.mark.export
pytest.importorskip("torch")

import _checkpoints

import demur
from demur_export import checkpoint, transformers_4
from demur_export.options import Options
from demur_export.pipeline import export

PATH = Path("config.json")
GLOBAL, LOCAL = "full_attention", "sliding_attention"


def _modern(**more: Any) -> dict[str, Any]:
    return transformers_4.configuration(PATH, {"model_type": "modernbert", "num_hidden_layers": 7} | more)


def _rope(**more: Any) -> dict[str, Any]:
    return {
        GLOBAL: {"rope_theta": 160000.0, "rope_type": "default"} | more,
        LOCAL: {"rope_theta": 10000.0, "rope_type": "default"},
    }


def test_what_transformers_4_wrote_stays_as_it_is() -> None:
    before = {"model_type": "modernbert", "global_rope_theta": 7.0, "torch_dtype": "bfloat16", "pad_token_id": 3}
    assert transformers_4.configuration(PATH, before) == before


def test_the_thetas_of_both_kinds_of_layers_get_their_own_keys() -> None:
    found = _modern(rope_parameters=_rope())
    assert (found["global_rope_theta"], found["local_rope_theta"]) == (160000.0, 10000.0)
    assert "rope_parameters" not in found


def test_thetas_that_are_not_stated_keep_their_defaults() -> None:
    found = _modern(rope_parameters={kind: {"rope_type": "default"} for kind in (GLOBAL, LOCAL)})
    assert not {"global_rope_theta", "local_rope_theta"} & set(found)


def test_the_configuration_means_the_same_to_transformers() -> None:
    from transformers import ModernBertConfig

    types = [GLOBAL if i % 2 == 0 else LOCAL for i in range(7)]
    rope = {GLOBAL: {"rope_theta": 5e5, "rope_type": "default"}, LOCAL: {"rope_theta": 2e3, "rope_type": "default"}}
    found = ModernBertConfig.from_dict(_modern(rope_parameters=rope, layer_types=types, dtype="float32"))
    assert (found.global_rope_theta, found.local_rope_theta) == (5e5, 2e3)
    assert found.global_attn_every_n_layers == 2


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ([], r"rope_parameters is \[\], expected an object with full_attention and sliding_attention"),
        ({GLOBAL: {}}, "expected an object with full_attention and sliding_attention"),
        ({GLOBAL: {}, LOCAL: 3}, "rope_parameters.sliding_attention is 3"),
        (_rope(rope_type="yarn"), "'yarn'.*demur knows the rope_type 'default'"),
        (_rope(factor=2.0), "'factor': 2.0.*demur knows the rope_type 'default'"),
        (_rope(rope_theta=-1), "rope_theta is -1, expected a positive number"),
        (_rope(rope_theta=True), "rope_theta is True, expected a positive number"),
        (_rope(rope_theta="many"), "rope_theta is 'many', expected a positive number"),
    ],
)
def test_rotary_settings_without_words_in_transformers_4_are_refused(stated: object, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"config.json: .*{message}"):
        _modern(rope_parameters=stated)


def test_two_values_for_one_theta_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"global_rope_theta is 5.0, but .*rope_theta is 160000.0; expected one"):
        _modern(rope_parameters=_rope(), global_rope_theta=5.0)


@pytest.mark.parametrize("interval", [1, 2, 3, 6, 7])
def test_the_interval_of_global_layers_is_read_off_their_kinds(interval: int) -> None:
    types = [LOCAL if i % interval else GLOBAL for i in range(7)]
    found = _modern(layer_types=types, global_attn_every_n_layers=99)
    assert found["global_attn_every_n_layers"] == interval
    assert "layer_types" not in found


@pytest.mark.parametrize("types", [[LOCAL] * 7, [GLOBAL, LOCAL, GLOBAL, GLOBAL, LOCAL, GLOBAL, LOCAL], [GLOBAL], []])
def test_irregular_kinds_of_layers_are_refused(types: list[str]) -> None:
    with pytest.raises(CheckpointError, match="layer_types is"):
        _modern(layer_types=types)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from([GLOBAL, LOCAL, "default"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([GLOBAL, LOCAL, "rope_theta", "rope_type"]), inner, max_size=3)
    ),
)


@given(rope=JSON, types=JSON | st.lists(st.sampled_from([GLOBAL, LOCAL]), max_size=7), theta=JSON, count=JSON)
def test_whatever_a_config_holds_is_read_or_refused(rope: object, types: object, theta: object, count: object) -> None:
    rotary, layers = {"rope_parameters": rope}, {"layer_types": types, "num_hidden_layers": count}
    for stated in (rotary, rotary | {"local_rope_theta": theta}, layers):
        try:
            found = transformers_4.configuration(PATH, {"model_type": "modernbert"} | stated)
        except CheckpointError:
            continue
        assert not {"rope_parameters", "layer_types"} & set(found)
        assert isinstance(found.get("global_attn_every_n_layers", 1), int)


def test_the_dtype_has_its_former_name_and_no_pad_id_is_the_default() -> None:
    found = transformers_4.configuration(PATH, {"model_type": "bert", "dtype": "float32", "pad_token_id": None})
    assert found == {"model_type": "bert", "torch_dtype": "float32"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_a_checkpoint_saved_by_transformers_5_becomes_a_bundle(tmp_path: Path) -> None:
    folder = _checkpoints.bert(tmp_path / "source", layers=1, outliers=1.0)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["torch_dtype" if "torch_dtype" in config else "dtype"]
    path.write_text(json.dumps(config | {"dtype": "float32", "transformers_version": "5.0.0", "pad_token_id": None}))
    # The list is what trips transformers 4 as well: there it is a table.
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "backend": "tokenizers",
                "tokenizer_class": "TokenizersBackend",
                "extra_special_tokens": _checkpoints.TAGS,
                "model_max_length": 100,
                "pad_token": "[PAD]",
            }
        )
    )
    (folder / "special_tokens_map.json").unlink()
    assert checkpoint.read(folder).max_tokens == 100
    export(Options(folder, tmp_path / "out", recipe="fp32"))
    model = demur.load(tmp_path / "out", threads=1)
    assert model.max_tokens == 100
    assert 0 <= model.check("sorry", prompt="help?").score <= 1
