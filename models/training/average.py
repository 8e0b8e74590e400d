"""Averages the weights of two checkpoints of one model.

python models/training/average.py CHECKPOINT CHECKPOINT --out AVERAGED
"""

import argparse
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file


def main() -> None:
    """Average, and save with the configuration and tokenizer of the first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoints", type=Path, nargs=2, metavar="CHECKPOINT")
    parser.add_argument("--out", type=Path, required=True, help="folder for the averaged checkpoint")
    options = parser.parse_args()
    first, second = (load_file(folder / "model.safetensors") for folder in options.checkpoints)
    if first.keys() != second.keys():
        raise SystemExit(f"weights differ in name: {sorted(first.keys() ^ second.keys())[:5]}")
    shutil.copytree(options.checkpoints[0], options.out, dirs_exist_ok=True)
    mean = {name: ((weight + second[name]) / 2).contiguous() for name, weight in first.items()}
    save_file(mean, options.out / "model.safetensors", {"format": "pt"})


if __name__ == "__main__":
    main()
