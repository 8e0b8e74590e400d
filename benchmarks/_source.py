"""The checkpoint that a benchmark sets demur beside: what it is of, for the record and in a section's words."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

# The key of a checkpoint's configuration that says of which bundle's weights it is made (`standins.py --unpack`).
UNPACKED = "unpacked_from"


def record(folder: Path) -> dict[str, str | None]:
    """Return the sum of a checkpoint's weights, and the bundle that they were unpacked from, if they were.

    Raises:
        SystemExit: There are no weights.
    """
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise SystemExit(
            f"error: --checkpoint {folder}: no {weights.name} there; give a checkpoint's folder, or make one of "
            f"demur's own bundle: python benchmarks/standins.py --unpack demur-mini --out {folder}"
        )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {"sha256": hashlib.sha256(weights.read_bytes()).hexdigest(), UNPACKED: config.get(UNPACKED)}


def words(of: Mapping[str, str | None]) -> str:
    """Return what a section calls the checkpoint that `record` is of."""
    if of.get(UNPACKED) is None:
        return "the checkpoint it was made from"
    return "the checkpoint that `standins.py --unpack` makes of it (the bundle's own weights, in fp32)"
