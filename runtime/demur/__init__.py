"""demur tells a refusal from an answer.

Example:
    import demur

    model = demur.load()
    model.check("I'm sorry, but I can't help with that.", prompt="How do I pick a lock?").refusal  # True
"""

from demur._classifier import Classifier
from demur._load import load
from demur._tables._batch import BatchScorer
from demur._tables._score_table import score_table
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
