"""Make checkpoints of the published architectures with weights of our own, graft outliers into one, unpack a bundle.

A stand-in takes the place of a published checkpoint where that can't be had: the same architecture and size, a
tokenizer of the same kind and size, and random weights shaped like trained ones. It tells nothing of what the published
model judges; sizes, times, memory and the order of recipes can be measured on it.

    python benchmarks/standins.py arctic-xs|e5-small|distilroberta|minos|all --out FOLDER [--small] [--seed N]
    python benchmarks/standins.py --graft CHECKPOINT --out FOLDER [--seed N]
    python benchmarks/standins.py --unpack NAME|BUNDLE --out FOLDER

demur-mini's own checkpoint is not published either: `--unpack demur-mini` makes one of the bundle in the wheel, for the
benchmarks that set demur beside PyTorch.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, BertConfig, ModernBertConfig, RobertaConfig
from transformers.modeling_utils import no_init_weights

import _graft
import _standin_tokenizers as tokenizers
import _standin_weights as weights
import _unpack
from demur import _catalogue
from demur._template import Template
from demur_export import templates

# Texts by which gains are set, and how many tokens of each; by which the head is set, at most how many of
# each, and every which of them.
_GAIN_TEXTS, _GAIN_TOKENS = 12, 48
_HEAD_TEXTS, _HEAD_TOKENS, _EVERY = 64, 256, 6
_AGENTLANS = ("Non-refusal", "Refusal")


@dataclass(frozen=True)
class StandIn:
    """One published architecture.

    Attributes:
        config: Makes its configuration, of given values.
        values: The published ones.
        small: What `--small` puts in their place.
        tokenizer: Makes its tokenizer, of texts, a size and a seed.
        tokenizer_class: The name that the published tokenizer goes by.
        vocabulary: The tokenizer's entries, role tags not counted.
        labels: By output.
    """

    config: Callable[..., Any]
    values: dict[str, Any]
    small: dict[str, Any]
    tokenizer: Callable[[list[str], int, int], Any]
    tokenizer_class: str
    vocabulary: int
    labels: tuple[str, str]


_SMALL = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
_SMALL_VOCABULARY = 2000
_BERT = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536, "max_position_embeddings": 512}

# Sizes from the model cards and configurations that design.md's catalogue lists. Where those don't say:
# * e5-small: the four role tags stand behind the 250,037 entries, and the embedding table has a row for each of the
#   250,041, as after `resize_token_embeddings(len(tokenizer))`. Its config says pad id 0, its tokenizer pads with 1.
# * distilroberta: LLM Guard compares the label with "REJECTION", so labels are written in capitals.
# * minos: pooling, biases and special ids are answerdotai/ModernBERT-large's, which it was fine-tuned from.
STAND_INS = {
    "arctic-xs": StandIn(
        BertConfig,
        _BERT | {"num_hidden_layers": 6},
        _SMALL | {"num_hidden_layers": 2},
        tokenizers.wordpiece,
        "BertTokenizer",
        30_522,
        _AGENTLANS,
    ),
    "e5-small": StandIn(
        BertConfig,
        _BERT | {"num_hidden_layers": 12, "pad_token_id": 0},
        _SMALL | {"num_hidden_layers": 2},
        tokenizers.unigram,
        "XLMRobertaTokenizer",
        250_037,
        _AGENTLANS,
    ),
    "distilroberta": StandIn(
        RobertaConfig,
        {
            "hidden_size": 768,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
            "bos_token_id": 0,
            "pad_token_id": 1,
            "eos_token_id": 2,
            "problem_type": "single_label_classification",
        },
        _SMALL | {"num_hidden_layers": 2},
        tokenizers.byte_bpe,
        "RobertaTokenizer",
        50_265,
        ("NORMAL", "REJECTION"),
    ),
    "minos": StandIn(
        ModernBertConfig,
        {
            "hidden_size": 1024,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "intermediate_size": 2624,
            "max_position_embeddings": 8192,
            "local_attention": 128,
            "global_attn_every_n_layers": 3,
            "global_rope_theta": 160_000.0,
            "local_rope_theta": 10_000.0,
            "classifier_pooling": "mean",
            "reference_compile": False,
        },
        _SMALL | {"num_hidden_layers": 4},
        tokenizers.modern_bpe,
        "PreTrainedTokenizerFast",
        50_368,
        _AGENTLANS,
    ),
}


def make(name: str, folder: Path, *, small: bool = False, seed: int = 0, pooling: str | None = None) -> Path:
    """Write the stand-in of a published checkpoint.

    Args:
        name: One of `STAND_INS`.
        folder: Where to; it is made.
        small: The same kind in tiny sizes.
        seed: Of weights and of what the tokenizer is filled up with.
        pooling: `cls` or `mean`, for minos alone.
    """
    standin = STAND_INS[name]
    folder.mkdir(parents=True, exist_ok=True)
    lines = tokenizers.texts(everything=not small)
    tokenizer = standin.tokenizer(lines, _SMALL_VOCABULARY if small else standin.vocabulary, seed)
    tokenizers.save(tokenizer, folder, standin.tokenizer_class)
    values = standin.values | (standin.small if small else {}) | {"vocab_size": len(tokenizer)}
    if name == "minos":
        names = {"bos_token_id": "cls", "cls_token_id": "cls", "eos_token_id": "sep", "sep_token_id": "sep"}
        values |= {key: getattr(tokenizer, f"{which}_token_id") for key, which in names.items()}
        values |= {"pad_token_id": tokenizer.pad_token_id} | ({"classifier_pooling": pooling} if pooling else {})
    labels = dict(enumerate(standin.labels))
    config = standin.config(**values, id2label=labels, label2id={label: i for i, label in labels.items()})
    with no_init_weights():  # they are all set below, and the default takes minutes for the largest
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    lines = tokenizers.texts(everything=False)
    massive = tokenizer.convert_tokens_to_ids([tokenizer.sep_token, ".", ","])
    weights.shape(model, torch.tensor(_ids(tokenizer, lines, _GAIN_TOKENS, _GAIN_TEXTS)), massive, seed)
    # subtle: as the model reads them, since what opens a turn moves all scores one way.
    template = Template(**templates.TEMPLATES[_catalogue.entries()[name].template])
    read = tokenizers.conversations(template)[::_EVERY]
    weights.spread(model, _features(model, _ids(tokenizer, read, _HEAD_TOKENS, _HEAD_TEXTS, shorter=True)))
    model.save_pretrained(folder)
    return folder


def _ids(tokenizer: Any, lines: Sequence[str], tokens: int, texts: int, *, shorter: bool = False) -> list[list[int]]:
    """Token ids of the first texts, cut at `tokens`; of those alone that have as many, unless `shorter` ones do."""
    encoded = (tokenizer(line, truncation=True, max_length=tokens)["input_ids"] for line in lines)
    return list(islice((ids for ids in encoded if shorter or len(ids) == tokens), texts))


def _features(model: Any, texts: Sequence[Sequence[int]]) -> torch.Tensor:
    """What the classifier's last layer reads, `[texts, hidden]`."""
    seen: list[torch.Tensor] = []
    hook = weights.head(model).register_forward_pre_hook(lambda module, read: seen.append(read[0].detach()))
    with torch.no_grad():
        for ids in texts:
            model(input_ids=torch.tensor([ids]))
    hook.remove()
    return torch.cat(seen)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what the command line asks for, and print where it is and how large."""
    parser = argparse.ArgumentParser(description="Make stand-ins of the published checkpoints.")
    parser.add_argument("name", nargs="?", choices=[*STAND_INS, "all"], help="the checkpoint that it stands for")
    parser.add_argument("--out", type=Path, required=True, help="folder; one in it for each, if there are several")
    parser.add_argument("--small", action="store_true", help="the same kind in tiny sizes, for tests")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: %(default)s)")
    parser.add_argument("--pooling", choices=["cls", "mean"], help="of minos (default: mean)")
    parser.add_argument("--graft", type=Path, metavar="CHECKPOINT", help="graft outliers into this BERT instead")
    parser.add_argument("--unpack", metavar="NAME|BUNDLE", help="make a checkpoint that computes what this bundle does")
    options = parser.parse_args(arguments)
    if sum(given is not None for given in (options.name, options.graft, options.unpack)) != 1:
        parser.error("give the name of a checkpoint to stand for, --graft CHECKPOINT, or --unpack NAME|BUNDLE")
    if options.unpack is not None:
        made = [_unpack.unpack(options.unpack, options.out)]
    elif options.graft is not None:
        made = [_graft.graft(options.graft, options.out, seed=options.seed)]
    elif options.name == "all":
        made = [
            make(name, options.out / name, small=options.small, seed=options.seed, pooling=options.pooling)
            for name in STAND_INS
        ]
    else:
        made = [make(options.name, options.out, small=options.small, seed=options.seed, pooling=options.pooling)]
    for folder in made:
        size = (folder / "model.safetensors").stat().st_size
        kind = json.loads((folder / "config.json").read_text())["model_type"]
        print(f"{folder}: {kind}, {size / 1e6:.1f} MB of weights")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
