"""Small checkpoints of the published shapes, made on the spot: random weights, a few outlier channels."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

import demur_export

_CORPUS = Path(demur_export.__file__).parent / "corpus.jsonl"
TAGS = ["<|system|>", "<|user|>", "<|assistant|>", "<|...|>"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'\"()-:;`|*/<>=+_{}[]#\n"


def write_tokenizer(folder: Path, tags: bool = True) -> int:
    """Write a WordPiece tokenizer of letters and some words; returns the size of its vocabulary."""
    words = ["the", "sorry", "cannot", "help", "with", "that", "answer", "is", "and", "you"]
    pieces = [*LETTERS, *(f"##{letter}" for letter in LETTERS), *words]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys([*SPECIAL, *pieces]))}
    rust = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    rust.normalizer = normalizers.BertNormalizer(lowercase=True)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.add_special_tokens(SPECIAL)
    if tags:
        rust.add_special_tokens([AddedToken(tag, special=True, normalized=False) for tag in TAGS])
    rust.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(t, vocabulary[t]) for t in ("[CLS]", "[SEP]")]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=rust, **names).save_pretrained(folder)
    return rust.get_vocab_size()


def bert(folder: Path, *, seed: int = 0, outliers: float = 30.0, layers: int = 2, tags: bool = True) -> Path:
    """Write a small BERT classifier.

    Args:
        folder: Where to.
        seed: Of the weights.
        outliers: What four channels of every layer's outputs are multiplied by.
        layers: Number of layers.
        tags: Whether the tokenizer has agentlans' role tags.
    """
    size = write_tokenizer(folder, tags)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=size,
        hidden_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=128,
        initializer_range=0.08,
        id2label={0: "Non-refusal", 1: "Refusal"},
        label2id={"Non-refusal": 0, "Refusal": 1},
    )
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("LayerNorm.weight"):
                weight[torch.tensor([3, 17, 30, 51])] *= outliers
            if name.endswith("bias"):
                weight.normal_(0, 0.02)
    _spread_scores(model, folder)
    model.save_pretrained(folder)
    return folder


def _spread_scores(model: BertForSequenceClassification, folder: Path) -> None:
    """Scale the head so that scores of texts differ by tenths, most on one side of a half.

    A random encoder's outputs are all alike: scores spread over 0 to 1 would show little but rounding.
    """
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    rows = [json.loads(line) for line in _CORPUS.read_text(encoding="utf-8").splitlines()]
    head = model.classifier
    with torch.no_grad():
        texts = [f"<|user|>{row['prompt'][:100]}<|assistant|>{row['response'][:100]}" for row in rows[:64]]
        inputs = [tokenizer(text, return_tensors="pt", truncation=True, max_length=128) for text in texts]
        found = [model.eval()(**one).logits[0] for one in inputs]
        logits = torch.stack(found) - head.bias
        gap = logits[:, 1] - logits[:, 0]
        head.weight *= 0.4 / gap.std()
        head.bias.copy_(torch.tensor([0.2, -0.2]) * (gap.mean() / gap.std() - 2.5))


def edit_config(folder: Path, **values: object) -> None:
    """Change keys of `config.json`."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
