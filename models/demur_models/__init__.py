"""Data: the bundles that come with demur, one folder each."""

from pathlib import Path

FOLDER = Path(__file__).parent
DEFAULT = "demur-mini"
