"""Small checkpoints of the published shapes, made on the spot: random weights, a few outlier channels."""

import json
import math
import unicodedata
from collections import Counter
from pathlib import Path

import torch
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaTokenizerFast,
    XLMRobertaTokenizerFast,
)

import demur_export

# Models this small gain nothing from threads, which on a busy machine wait for one another.
torch.set_num_threads(1)
_CORPUS = Path(demur_export.__file__).parent / "corpus.jsonl"
# What tokenizers and heads are made from: so many conversations, with replies of fewer characters.
_ROWS, _SHORT = 160, 500
TAGS = ["<|system|>", "<|user|>", "<|assistant|>", "<|...|>"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SENTENCEPIECE = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
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
    return _write(BertForSequenceClassification(config), folder, outliers)


def _write(model: PreTrainedModel, folder: Path, outliers: float) -> Path:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("LayerNorm.weight"):
                weight[torch.tensor([3, 17, 30, 51])] *= outliers
            if name.endswith("bias"):
                weight.normal_(0, 0.02)
    _spread_scores(model, folder)
    model.save_pretrained(folder)
    return folder


def _spread_scores(model: PreTrainedModel, folder: Path) -> None:
    """Scale the head so that scores of texts differ by tenths, most on one side of a half.

    A random encoder's outputs are all alike: scores spread over 0 to 1 would show little but rounding.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = _rows()
    head = getattr(model.classifier, "out_proj", model.classifier)
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


def corpus_texts() -> list[str]:
    """Return prompts and responses of the first short conversations of demur's own corpus."""
    return [row[key] for row in _rows() for key in ("prompt", "response")]


def _rows() -> list[dict[str, str]]:
    rows = [json.loads(line) for line in _CORPUS.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if len(row["response"]) < _SHORT][:_ROWS]


def write_bytes_tokenizer(folder: Path, size: int = 600) -> int:
    """Write a byte-level BPE tokenizer as RoBERTa's, trained on demur's corpus; returns the size of its vocabulary."""
    rust = Tokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SENTENCEPIECE,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rust.train_from_iterator(corpus_texts(), trainer)
    rust.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    rust.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    RobertaTokenizerFast(tokenizer_object=rust, model_max_length=512).save_pretrained(folder)
    return rust.get_vocab_size()


def _frequent(size: int) -> list[tuple[str, float]]:
    """Return every character of demur's corpus and its most frequent parts of words, with their log frequencies.

    The trainer of tokenizers finds other pieces each time, and the checkpoint would be another one.
    """
    words = [f"\u2581{word}" for text in corpus_texts() for word in unicodedata.normalize("NFKC", text).split()]
    spans = [(i, j) for i in range(12) for j in range(i + 1, i + 7)]
    counts = Counter(word[i:j] for word in words for i, j in spans if j <= len(word))
    characters = set().union(*words)
    longer = sorted((part for part in counts if len(part) > 1), key=lambda part: (-counts[part], part))
    chosen = [*sorted(characters), *longer[: max(0, size - len(characters))]]
    return [(part, math.log(max(counts[part], 1) / counts.total())) for part in chosen]


def write_unigram_tokenizer(folder: Path, size: int = 1500) -> int:
    """Write a Unigram tokenizer as XLM-R's with agentlans' role tags; returns the size of its vocabulary."""
    pieces = [*((special, 0.0) for special in SENTENCEPIECE[:4]), *_frequent(size - len(SENTENCEPIECE))]
    rust = Tokenizer(models.Unigram([*pieces, ("<mask>", 0.0)], unk_id=3, byte_fallback=False))
    rust.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    split = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")]
    rust.pre_tokenizer, rust.decoder = pre_tokenizers.Sequence(split), decoders.Metaspace(prepend_scheme="always")
    rust.add_special_tokens([*SENTENCEPIECE[:4], AddedToken("<mask>", lstrip=True)])
    rust.add_special_tokens([AddedToken(tag, special=True, normalized=False) for tag in TAGS])
    rust.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    XLMRobertaTokenizerFast(tokenizer_object=rust, model_max_length=512).save_pretrained(folder)
    return rust.get_vocab_size()


def roberta(folder: Path, *, seed: int = 0, outliers: float = 30.0, layers: int = 2) -> Path:
    """Write a small RoBERTa classifier, as `distilroberta` is: 514 rows of positions, of which 512 are usable.

    Args:
        folder: Where to.
        seed: Of the weights.
        outliers: What four channels of every layer's outputs are multiplied by.
        layers: Number of layers.
    """
    size = write_bytes_tokenizer(folder)
    torch.manual_seed(seed)
    config = RobertaConfig(
        vocab_size=size,
        hidden_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        initializer_range=0.08,
        id2label={0: "normal", 1: "rejection"},
        label2id={"normal": 0, "rejection": 1},
    )
    return _write(RobertaForSequenceClassification(config), folder, outliers)


def e5(folder: Path, *, seed: int = 0, outliers: float = 30.0, layers: int = 2, entries: int = 1500) -> Path:
    """Write a small BERT classifier with XLM-R's sort of tokenizer, as `e5-small` is.

    Its `config.json` says that padding is 0, which is the tokenizer's `<s>`; its tokenizer emits no token types, of
    which the model has two.

    Args:
        folder: Where to.
        seed: Of the weights.
        outliers: What four channels of every layer's outputs are multiplied by.
        layers: Number of layers.
        entries: Of the vocabulary, but for the role tags.
    """
    size = write_unigram_tokenizer(folder, entries)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=size,
        hidden_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=512,
        pad_token_id=0,
        initializer_range=0.08,
        id2label={0: "Non-refusal", 1: "Refusal"},
        label2id={"Non-refusal": 0, "Refusal": 1},
    )
    return _write(BertForSequenceClassification(config), folder, outliers)
