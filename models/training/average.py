"""Averages the weights of two checkpoints of one model.

python models/training/average.py CHECKPOINT CHECKPOINT --out AVERAGED [--share 0.5] [--words-of-first]

The second may be what the first started from: halfway back, it keeps more of what it knew (Wortsman et al. 2022,
https://arxiv.org/abs/2109.01903).
"""

import argparse
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from vocabulary import WORD_EMBEDDINGS


def main() -> None:
    """Average, and save with the configuration and tokenizer of the first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoints", type=Path, nargs=2, metavar="CHECKPOINT")
    parser.add_argument("--out", type=Path, required=True, help="folder for the averaged checkpoint")
    parser.add_argument("--share", type=float, default=0.5, help="of the first one's weights (%(default)s)")
    parser.add_argument(
        "--words-of-first", action="store_true", help="take the words' embeddings of the first, where pieces are new"
    )
    options = parser.parse_args()
    first, second = (load_file(folder / "model.safetensors") for folder in options.checkpoints)
    if first.keys() != second.keys():
        raise SystemExit(f"weights differ in name: {sorted(first.keys() ^ second.keys())[:5]}")
    shutil.copytree(options.checkpoints[0], options.out, dirs_exist_ok=True)
    mean = {n: (options.share * w + (1 - options.share) * second[n]).contiguous() for n, w in first.items()}
    if options.words_of_first:
        mean[WORD_EMBEDDINGS] = first[WORD_EMBEDDINGS]
    save_file(mean, options.out / "model.safetensors", {"format": "pt"})


if __name__ == "__main__":
    main()
