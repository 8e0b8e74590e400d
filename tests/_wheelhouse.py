"""What is installed here, as wheels again: so that pip can fetch it without a network."""

import zipfile
from importlib import metadata
from pathlib import Path

from demur._package.distributions import required


def write_all(requirements: list[str], folder: Path) -> None:
    """Write a wheel of each requirement, and of what it needs in turn, as far as it is installed here.

    Raises:
        importlib.metadata.PackageNotFoundError: A requirement itself is not.
    """
    for requirement in requirements:
        metadata.distribution(required(requirement))
    ahead, written = [required(line) for line in requirements], set[str]()
    while ahead:
        name = ahead.pop()
        if name in written:
            continue
        written.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another platform
            continue
        _write(distribution, folder)
        ahead += [required(line) for line in distribution.requires or [] if "extra ==" not in line]


def _write(distribution: metadata.Distribution, folder: Path) -> None:
    stated = (distribution.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag: ").split("-") for line in stated if line.startswith("Tag: ")]
    tag = "-".join(".".join(sorted({parts[i] for parts in tags})) for i in range(3))
    name = f"{distribution.name.replace('-', '_')}-{distribution.version}-{tag}.whl"
    files = [file for file in distribution.files or () if not str(file).startswith("..") and file.suffix != ".pyc"]
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for file in files:
            # What pip adds when it installs; its own list of a wheel's files it writes anew.
            if file.name not in ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD"):
                wheel.write(str(distribution.locate_file(file)), str(file))
        (record,) = (str(file) for file in files if file.name == "RECORD")
        wheel.writestr(record, "".join(f"{name},,\n" for name in wheel.namelist()) + f"{record},,\n")
