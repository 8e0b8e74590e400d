"""The whole of `demur package`: fetch, leave out, put in, compile, try, pack."""

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import demur
import demur_models
from demur import _bundle
from demur._bundle import Bundle
from demur._package import archive, distributions, elf, fetch, trial
from demur._package.rules import leave_out
from demur.errors import PackageError

# Unzipped bytes, layers included (AWS Lambda quotas, "Deployment package (.zip file archive) size"), and those of a
# zip that is uploaded directly.
LAMBDA_BYTES, DIRECT_BYTES = 250 * 2**20, 50 * 2**20
# Lambda's Python 3.11 runs on Amazon Linux 2, whose glibc 2.26 is older than what the wheels need.
LAMBDA_PYTHON = (3, 12)

RECORD = "demur-package.json"
_MAIN = '''"""`python FOLDER ...` is the command `demur`."""

import sys

from demur.cli import main

sys.exit(main())
'''
_MODELS = '''"""Data: the bundle that was packaged, and the catalogue of published checkpoints."""

from pathlib import Path

FOLDER = Path(__file__).parent
CATALOGUE = FOLDER / "catalogue"
DEFAULT = {name!r}
'''


@dataclass(frozen=True)
class Request:
    """What is to be packaged: a bundle, for where, and into which folder.

    Attributes:
        python: A version of CPython such as `3.12`.
    """

    target: Literal["lambda", "folder"]
    out: Path
    model: str | Path | None
    platform: str
    python: str

    @property
    def zip(self) -> Path:
        return self.out.with_name(f"{self.out.name}.zip")

    @property
    def machine(self) -> str:
        """The processor's architecture: `x86_64` or `aarch64`."""
        return self.platform.split("_", 3)[3]


@dataclass(frozen=True)
class Package:
    """What was made.

    Attributes:
        model: The bundle's name.
        bytes: Of the folder's files.
        left_out: Bytes of what pip brought and is never loaded.
        score: What a bare Python gave a refusal, or None where none could be started.
        unchecked: Why none could be started.
    """

    model: str
    bytes: int
    zip_bytes: int
    left_out: int
    score: float | None
    unchecked: str


def build(request: Request) -> Package:
    """Make the folder and the zip, both or neither.

    Raises:
        BundleError: The bundle can't be used.
        PackageError: The folder could not be made, does not work, or is too large for its target.
    """
    _check(request)
    bundle = _bundle.read(_bundle.find(request.model))
    bundle.check_sums()
    request.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=request.out.parent, prefix=f".{request.out.name}.") as made:
        folder, packed = Path(made) / "folder", Path(made) / "folder.zip"
        wanted = fetch.requirements()
        fetch.fetch(wanted, folder, request.platform, request.python)
        left_out = leave_out(folder, wanted)
        elf.check(folder, request.machine)
        _put_in(folder, bundle, request)
        score, unchecked = _try(folder, request)
        size = archive.size(folder)
        check_size(request, size)
        archive.write(folder, packed)
        zip_bytes = packed.stat().st_size
        folder.rename(request.out)
        packed.replace(request.zip)
    return Package(bundle.folder.name, size, zip_bytes, left_out, score, unchecked)


def _check(request: Request) -> None:
    for path in (request.out, request.zip):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise PackageError(f"{path}: is there already; remove it, or give another --out")
    if request.target == "lambda" and tuple(int(part) for part in request.python.split(".")) < LAMBDA_PYTHON:
        raise PackageError(
            f"--python {request.python}: Lambda's runtime of it has glibc 2.26, and the wheels of onnxruntime need "
            f"2.28; expected {'.'.join(map(str, LAMBDA_PYTHON))} or later"
        )


def check_size(request: Request, size: int) -> None:
    """Make sure that its target takes so many bytes.

    Raises:
        PackageError: It does not.
    """
    if request.target == "lambda" and size > LAMBDA_BYTES:
        raise PackageError(
            f"{request.out}: {size / 2**20:.0f} MiB unzipped, and a Lambda function made from a zip has at most "
            f"{LAMBDA_BYTES / 2**20:.0f}; put it into a container image with --target folder, or take a smaller model"
        )


def _put_in(folder: Path, bundle: Bundle, request: Request) -> None:
    """Put demur and the bundle beside what pip brought, and a record of it all."""
    versions = distributions.versions(folder)
    shutil.copytree(Path(demur.__file__).parent, folder / "demur", ignore=shutil.ignore_patterns("__pycache__"))
    models = folder / "demur_models"
    shutil.copytree(demur_models.CATALOGUE, models / "catalogue")
    (models / "__init__.py").write_text(_MODELS.format(name=bundle.folder.name), encoding="utf-8")
    card = [path for path in (bundle.folder / "README.md", bundle.folder / "demur.json") if path.is_file()]
    for path in (*card, *(file.path for file in bundle.files)):
        target = models / bundle.folder.name / path.relative_to(bundle.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (folder / "__main__.py").write_text(_MAIN, encoding="utf-8")
    said = {key: asdict(request)[key] for key in ("target", "platform", "python")}
    record = said | {"model": bundle.folder.name, "demur": demur.__version__, "dependencies": versions}
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _try(folder: Path, request: Request) -> tuple[float | None, str]:
    """Return what a bare Python scores, or None and why none could be started."""
    interpreter = trial.find_python(request.python)
    if interpreter is None:
        return None, f"there is no Python {request.python} here"
    trial.compile_modules(folder, interpreter)
    if not trial.runs_here(request.platform):
        return None, f"what is for {request.platform} does not run here"
    return trial.score(folder, interpreter), ""
