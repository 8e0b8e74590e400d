"""Folder to validated bundle."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import demur_models
from demur import _home, _manifest
from demur._manifest import MANIFEST
from demur._template import Template
from demur.errors import ChecksumError, MissingFileError, ModelNotFoundError, TruncatedFileError, UnsafePathError


class File(NamedTuple):
    """A file of the bundle, and what it must be."""

    path: Path
    bytes: int
    sha256: str

    def check_size(self) -> None:
        """Raise MissingFileError or TruncatedFileError unless the file is there at its recorded size."""
        if not self.path.is_file():
            raise MissingFileError(f"{self.path}: no such file, but {MANIFEST} names it; copy the bundle again")
        found = self.path.stat().st_size
        if found != self.bytes:
            raise TruncatedFileError(
                f"{self.path}: {found} bytes, but {MANIFEST} records {self.bytes}; the copy is incomplete or changed"
            )

    def check_sum(self) -> None:
        """Raise ChecksumError unless the file's contents are the recorded ones."""
        found = _sha256(self.path)
        if found != self.sha256:
            raise ChecksumError(
                f"{self.path}: sha256 is {found}, but {MANIFEST} records {self.sha256}; copy the bundle again"
            )


@dataclass(frozen=True)
class Bundle:
    """All that differs between models. Made by `read`, which validates it.

    Attributes:
        folder: Where the bundle lies.
        languages: Codes of the languages that the classifier was trained on.
        parameters: The checkpoint's number of weights.
        labels: The model's names, by output.
        refusal: Which output is the refusal.
        operating_points: Thresholds by name; `balanced` is the default.
        parity: What the export measured against PyTorch, or None.
        exported: Versions of what made the bundle.
        weights: The file that `model` takes its weights from, or None where it holds them itself.
    """

    folder: Path
    name: str
    version: str
    source: Mapping[str, str | None]
    licence: str
    languages: tuple[str, ...]
    architecture: str
    parameters: int
    recipe: str
    max_tokens: int
    labels: tuple[str, ...]
    refusal: int
    template: Template
    operating_points: Mapping[str, float]
    model: File
    tokenizer: File
    parity: Mapping[str, Any] | None
    exported: Mapping[str, Any]
    weights: File | None = None

    @property
    def files(self) -> tuple[File, ...]:
        return (self.model, self.tokenizer, *((self.weights,) if self.weights else ()))

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.bytes for file in self.files)

    def check_sums(self) -> None:
        """Raise ChecksumError unless the files' contents are the recorded ones."""
        for file in self.files:
            file.check_sum()


def _sha256(path: Path) -> str:
    # subtle: imported here, since it loads OpenSSL, and `load` calls this beside its own work.
    import hashlib
    from mmap import ACCESS_READ, mmap

    with path.open("rb") as stream:
        try:
            # subtle: as one piece. For each the interpreter is asked for twice, and who imports a module holds it for
            # 5 ms at a time: demur-mini read in pieces of 1 MB takes 160 ms beside imports, and mapped 100.
            mapped = mmap(stream.fileno(), 0, access=ACCESS_READ)
        except (OSError, ValueError):  # a file system that can't, an empty file
            return hashlib.file_digest(stream, "sha256").hexdigest()
        with mapped:
            return hashlib.sha256(mapped).hexdigest()


def available() -> dict[str, Path]:
    """Return the bundles that can be loaded by name, and their folders.

    Those that come with demur first, then those made on this machine; a name that both have is the former's.
    """
    found: dict[str, Path] = {}
    for root in (demur_models.FOLDER, _home.folder()):
        for manifest in sorted(root.glob(f"*/{MANIFEST}")) if root else ():
            # subtle: a glob's star matches hidden folders too, and one that is being written is hidden.
            if not manifest.parent.name.startswith("."):
                found.setdefault(manifest.parent.name, manifest.parent)
    return found


def find(model: str | Path | None) -> Path:
    """Return the folder of a bundle by its name, by its path, or of the default bundle.

    Raises:
        ModelNotFoundError: It is neither the name of a bundle nor a folder.
    """
    if model is None:
        model = demur_models.DEFAULT
    named = available()
    if isinstance(model, str) and model in named:
        return named[model]
    folder = Path(model)
    if not folder.is_dir():
        raise ModelNotFoundError(_missing(str(model), named))
    return folder.absolute()


def _missing(model: str, named: Mapping[str, Path]) -> str:
    from demur import _catalogue

    catalogue = _catalogue.entries()
    if model in catalogue:
        entry = catalogue[model]
        return (
            f"{model!r} has not been made on this machine (looked in {_home.folder()}); make it once: {entry.command} "
            f"(needs {_catalogue.PIP}; downloads {entry.repository}, {entry.parameters / 1e6:.0f} M weights)"
        )
    return (
        f"{model!r} is neither a bundle's folder nor a known name ({', '.join(named) or 'none installed'}; "
        f"with demur-export NAME also {', '.join(name for name in catalogue if name not in named) or 'none'}); "
        "make a bundle with demur-export SOURCE --out FOLDER"
    )


def read(folder: Path) -> Bundle:
    """Read and validate `demur.json` and check that its files are there at their recorded sizes.

    Args:
        folder: The bundle. Relative paths in it are taken from here and can't lead out of it.

    Raises:
        BundleError: One of its subclasses for each kind of fault; see `demur.errors`.
    """
    path = folder / MANIFEST
    raw = _manifest.read(path)
    bundle = Bundle(
        folder=folder,
        **{key: raw[key] for key in ("name", "version", "source", "licence", "architecture", "parameters", "recipe")},
        **{key: raw[key] for key in ("max_tokens", "refusal", "operating_points", "parity", "exported")},
        languages=tuple(raw["languages"]),
        labels=tuple(raw["labels"]),
        template=Template(**raw["template"]),
        model=_file(path, raw, "model"),
        tokenizer=_file(path, raw, "tokenizer"),
        weights=_file(path, raw, "weights") if "weights" in raw["files"] else None,
    )
    for file in bundle.files:
        file.check_size()
    return bundle


def _file(manifest: Path, raw: dict[str, Any], key: str) -> File:
    entry = raw["files"][key]
    name, folder = entry["path"], manifest.parent
    if not _leads_inside(folder, name):
        raise UnsafePathError(
            f"{manifest}: key 'files.{key}.path' is {name!r}, which leads out of {folder}; expected a path inside it"
        )
    return File(folder / name, entry["bytes"], entry["sha256"])


def _leads_inside(folder: Path, name: str) -> bool:
    if not name or any(p.anchor or ".." in p.parts for p in (PurePosixPath(name), PureWindowsPath(name))):
        return False
    try:
        return (folder / name).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle, a NUL, a lone surrogate
        return False
