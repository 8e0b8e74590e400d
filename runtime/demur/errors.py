"""Every error that demur raises on purpose.

DemurError
├── InputError (ValueError)             a conversation that cannot be scored
│   ├── EmptyResponseError              there is no reply to judge
│   └── ShapeError                      not a conversation: unknown shape, role or type
├── BundleError                         a folder that is no usable bundle
│   ├── ModelNotFoundError              no such name or folder
│   ├── MissingFileError                demur.json, the model or the tokenizer is not there
│   ├── ManifestError                   demur.json cannot be used
│   │   ├── ManifestSyntaxError         it is not JSON
│   │   ├── UnknownKeyError             it has a key that this format does not know
│   │   ├── MissingKeyError             it lacks a key
│   │   ├── WrongTypeError              a value has another type
│   │   ├── WrongValueError             a value is out of its range
│   │   ├── UnsafePathError             a path leads out of the folder
│   │   └── NewerFormatError            it was written for a later demur
│   ├── TruncatedFileError              a file's size is not the recorded one
│   ├── ChecksumError                   a file's sha256 is not the recorded one
│   ├── TokenizerError                  tokenizer.json cannot be read
│   └── ModelError                      model.onnx cannot be loaded or has other inputs and outputs
├── DeviceError                         the device asked for is not the one that would run
├── DataError                           a file or table of rows that cannot be read or written as asked
│   ├── DataExtraError (ImportError)    it needs a package of an extra that is not installed
│   └── ResumeError                     what an unfinished run left is of other inputs or options, or in use
├── PackageError                        a folder that could not be packaged
└── ExportError                         a checkpoint that cannot become a bundle
    ├── MissingExtraError (ImportError) the [export] extra is not installed
    ├── CheckpointError                 the checkpoint is not one that demur knows
    └── ParityError                     the finished bundle is too far from PyTorch
"""


class DemurError(Exception):
    """The root of demur's errors."""


class InputError(DemurError, ValueError):
    """A conversation that cannot be scored."""


class EmptyResponseError(InputError):
    """There is no reply to judge: the last assistant turn is missing or blank."""


class ShapeError(InputError):
    """What was passed is not a conversation: its shape, a role or a type is unknown."""


class BundleError(DemurError):
    """A folder that is no usable bundle."""


class ModelNotFoundError(BundleError):
    """Neither the name of a known model nor a folder."""


class MissingFileError(BundleError):
    """A file of the bundle is not there."""


class ManifestError(BundleError):
    """`demur.json` cannot be used."""


class ManifestSyntaxError(ManifestError):
    """`demur.json` is not JSON."""


class UnknownKeyError(ManifestError):
    """`demur.json` has a key that its format does not know."""


class MissingKeyError(ManifestError):
    """`demur.json` lacks a key."""


class WrongTypeError(ManifestError):
    """A value in `demur.json` has another type than its key asks for."""


class WrongValueError(ManifestError):
    """A value in `demur.json` is out of its range."""


class UnsafePathError(ManifestError):
    """A path in `demur.json` leads out of the bundle's folder."""


class NewerFormatError(ManifestError):
    """`demur.json` was written for a later version of demur."""


class TruncatedFileError(BundleError):
    """A file's size is not the one that `demur.json` records."""


class ChecksumError(BundleError):
    """A file's sha256 is not the one that `demur.json` records."""


class TokenizerError(BundleError):
    """`tokenizer.json` cannot be read."""


class ModelError(BundleError):
    """`model.onnx` cannot be loaded, or its inputs and outputs are not a bundle's."""


class DeviceError(DemurError):
    """The device asked for is not the one that would run."""


class PackageError(DemurError):
    """A self-contained folder that could not be made, or that does not work."""


class DataError(DemurError):
    """A file or table of rows that cannot be read or written as asked."""


class DataExtraError(DataError, ImportError):
    """A package of an extra, such as `[data]`, is not installed."""


class ResumeError(DataError):
    """What an unfinished run left belongs to other inputs or options, or another process is using it."""


class ExportError(DemurError):
    """A checkpoint that cannot become a bundle."""


class MissingExtraError(ExportError, ImportError):
    """The `[export]` extra is not installed."""


class CheckpointError(ExportError):
    """The checkpoint is not one that demur knows how to export."""


class ParityError(ExportError):
    """The finished bundle is too far from PyTorch."""
