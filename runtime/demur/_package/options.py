"""The options of `demur package`, and what it prints."""

import argparse
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demur._package.build import Package, Request

# The C library of Amazon Linux 2023 and of Debian 10 and later; the wheels of onnxruntime need it.
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_28_aarch64")
_ARM = ("arm64", "aarch64")


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of `demur`."""
    package = commands.add_parser(
        "package", help="build a folder and a zip that need nothing else, for a function or an edge device"
    )
    package.add_argument("--target", choices=["lambda", "folder"], required=True, help="what it is for")
    package.add_argument("--out", metavar="OUT", type=Path, required=True, help="the folder; the zip is OUT.zip")
    package.add_argument("--model", metavar="NAME|FOLDER", help="a bundle (default: the one that comes with demur)")
    package.add_argument(
        "--platform", choices=_PLATFORMS, default=default_platform(), help="where it is to run (default: %(default)s)"
    )
    package.add_argument(
        "--python",
        metavar="X.Y",
        type=_version,
        help="its Python (default: the version of this one, but 3.12 at least for lambda)",
    )
    package.set_defaults(run=_run)


def default_platform() -> str:
    """Return the platform of Linux on this machine's kind of processor."""
    return _PLATFORMS[platform.machine().lower() in _ARM]


def _version(text: str) -> str:
    if not re.fullmatch(r"3\.\d+", text) or int(text[2:]) < 11:
        raise argparse.ArgumentTypeError(f"{text!r} is no version of Python from 3.11, such as 3.12")
    return text


def _run(options: argparse.Namespace) -> int:
    # subtle: whoever scores a text should not wait for what packaging imports.
    from demur._package.build import LAMBDA_PYTHON, Request, build

    own = sys.version_info[:2]
    version = max(own, LAMBDA_PYTHON) if options.target == "lambda" else own
    python = options.python or ".".join(map(str, version))
    request = Request(options.target, options.out.absolute(), options.model, options.platform, python)
    print("\n".join(_lines(request, build(request))))
    return 0


def _lines(request: "Request", made: "Package") -> list[str]:
    from demur._package.build import DIRECT_BYTES

    said = [
        f"{made.model} for {request.platform} and Python {request.python}",
        f"  {request.out}  {made.bytes / 1e6:.1f} MB (left out: {made.left_out / 1e6:.1f} MB)",
        f"  {request.zip}  {made.zip_bytes / 1e6:.1f} MB",
    ]
    if made.score is None:
        said.append(f"not tried: {made.unchecked}")
    else:
        said.append(f"tried: a bare Python {request.python} scored a refusal {made.score:.3f} from this folder alone")
    if request.target == "lambda":
        machine = "arm64" if request.machine == "aarch64" else request.machine
        way = "upload the zip" if made.zip_bytes <= DIRECT_BYTES else "upload the zip through S3"
        said.append(
            f"Lambda: runtime python{request.python}, architecture {machine}, handler demur.serverless.handler; {way}"
        )
    return said
