"""demur tells a refusal from an answer.

Example:
    import demur

    model = demur.load()
    model.check("I'm sorry, but I can't help with that.", prompt="How do I pick a lock?").refusal  # True
"""

from typing import TYPE_CHECKING, Any

from demur._classifier import Classifier
from demur._load import load
from demur._verdict import Verdict
from demur.errors import (
    BundleError,
    ChecksumError,
    DataError,
    DataExtraError,
    DemurError,
    DeviceError,
    EmptyResponseError,
    InputError,
    ManifestError,
    MissingFileError,
    ModelError,
    ModelNotFoundError,
    ShapeError,
    TokenizerError,
    TruncatedFileError,
)

if TYPE_CHECKING:
    from demur._tables._batch import BatchScorer
    from demur._tables._score_table import score_table

__all__ = [
    "BatchScorer",
    "BundleError",
    "ChecksumError",
    "Classifier",
    "DataError",
    "DataExtraError",
    "DemurError",
    "DeviceError",
    "EmptyResponseError",
    "InputError",
    "ManifestError",
    "MissingFileError",
    "ModelError",
    "ModelNotFoundError",
    "ShapeError",
    "TokenizerError",
    "TruncatedFileError",
    "Verdict",
    "load",
    "score_table",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what tables need when it is first asked for: one text needs none of it."""
    if name == "BatchScorer":
        from demur._tables._batch import BatchScorer

        return BatchScorer
    if name == "score_table":
        from demur._tables._score_table import score_table

        return score_table
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
