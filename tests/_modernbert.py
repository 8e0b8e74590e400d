"""Small ModernBERT checkpoints, made on the spot: random weights, a few outlier channels."""

import json
from pathlib import Path

import torch
from _checkpoints import _CORPUS, _spread_scores
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"]
# The form that the model card of NousResearch/Minos-v1 shows in its example code.
TEMPLATE = {
    "roles": {"user": "<|user|>\n", "assistant": "<|assistant|>\n"},
    "separator": "\n",
    "ellipsis": " ... ",
}


def write_tokenizer(folder: Path) -> int:
    """Write a byte-level BPE tokenizer of ModernBERT's kind; returns the size of its vocabulary."""
    rows = [json.loads(line) for line in _CORPUS.read_text(encoding="utf-8").splitlines()]
    rust = Tokenizer(models.BPE(unk_token="[UNK]"))
    rust.normalizer = normalizers.NFC()
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rust.train_from_iterator([row["response"] for row in rows], trainer)
    rust.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(t, rust.token_to_id(t)) for t in ("[CLS]", "[SEP]")]
    )
    names = dict(zip(("cls_token", "sep_token", "unk_token", "pad_token", "mask_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=rust, **names).save_pretrained(folder)
    return int(rust.get_vocab_size())


def modernbert(folder: Path, *, seed: int = 0, outliers: float = 20.0, **changes: object) -> Path:
    """Write a small ModernBERT classifier.

    Args:
        folder: Where to.
        seed: Of the weights.
        outliers: What four channels of every LayerNormalization are multiplied by.
        changes: Other values of the configuration.
    """
    # subtle: importing ModernBERT sets up torch's compiler, which warns; here the tests' filters are in force.
    from transformers import ModernBertConfig, ModernBertForSequenceClassification

    size = write_tokenizer(folder)
    torch.manual_seed(seed)
    names = ("cls_token_id", "sep_token_id", "unk_token_id", "pad_token_id")
    shape = {
        "vocab_size": size,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "max_position_embeddings": 1024,
        "local_attention": 16,
        "initializer_range": 0.08,
        "classifier_pooling": "mean",
        "bos_token_id": 0,
        "eos_token_id": 1,
        **{name: i for i, name in enumerate(names)},
    }
    config = ModernBertConfig(
        **(shape | changes),
        reference_compile=False,
        id2label={0: "Non-refusal", 1: "Refusal"},
        label2id={"Non-refusal": 0, "Refusal": 1},
    )
    model = ModernBertForSequenceClassification(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                weight[torch.tensor([3, 17, 30, 51]) % len(weight)] *= outliers
            if name.endswith("bias"):
                weight.normal_(0, 0.02)
    _spread_scores(model, folder)
    model.save_pretrained(folder)
    return folder
