"""demur tells a refusal from an answer.

Example:
    import demur

    model = demur.load()
    model.check("I'm sorry, but I can't help with that.", prompt="How do I pick a lock?").refusal  # True
"""

from demur._classifier import Classifier
from demur._load import load
from demur._verdict import Verdict
from demur.errors import (
    BundleError,
    ChecksumError,
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
    "BundleError",
    "ChecksumError",
    "Classifier",
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
]

__version__ = "0.1.0"
