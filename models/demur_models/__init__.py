"""Data: the bundles that come with demur, one folder each, and the catalogue of published checkpoints."""

from pathlib import Path

FOLDER = Path(__file__).parent
CATALOGUE = FOLDER / "catalogue"
DEFAULT = "demur-mini"
