"""What is never loaded, and so is left out: explicit rules, each of which has to match something.

The rules name what `demur check`, `demur score` and the handler never load, as far as it takes a tenth of a megabyte
or more; what no rule names stays.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from demur._package.distributions import Distribution, read, required
from demur.errors import PackageError


@dataclass(frozen=True)
class Rule:
    """Something that is left out.

    Attributes:
        distribution: The distribution that it belongs to, by its normalised name.
        pattern: A pattern of its files, where `*` also stands for slashes; None for the whole distribution, and with
            it what nothing else needs.
        why: Why it is never loaded.
        release: The distribution's release for which the rule was last seen to be right.
    """

    distribution: str
    pattern: str | None
    why: str
    release: str

    def __str__(self) -> str:
        return f"{self.distribution}: {self.pattern or 'all of it'} ({self.why})"


RULES = (
    Rule("huggingface-hub", None, "tokenizers downloads by it, demur does not", "2.4.0"),
    Rule("protobuf", None, "onnxruntime's tools alone read graphs in Python", "7.36.2"),
    Rule("flatbuffers", None, "onnxruntime's tools alone write its own format", "25.12.19"),
    Rule("packaging", None, "onnxruntime's tools alone compare releases", "26.3"),
    Rule("onnxruntime", "onnxruntime/capi/libonnxruntime.so*", "the Python module holds all of it again", "1.31.1"),
    Rule("onnxruntime", "onnxruntime/transformers/*", "tools that rewrite graphs", "1.31.1"),
    Rule("onnxruntime", "onnxruntime/quantization/*", "tools that quantise graphs", "1.31.1"),
    Rule("onnxruntime", "onnxruntime/tools/*", "tools for other platforms", "1.31.1"),
    Rule("numpy", "*/tests/*", "tests", "2.4.6"),
    Rule("numpy", "*.pyi", "type stubs", "2.4.6"),
    Rule("numpy", "numpy/_core/include/*", "headers for C", "2.4.6"),
    Rule("numpy", "*.a", "libraries for linking C", "2.4.6"),
    Rule("numpy", "numpy/_core/_simd.*", "for tests", "2.4.6"),
    Rule("numpy", "numpy/_core/_*_tests.*", "for tests", "2.4.6"),
    Rule("numpy", "numpy/testing/*", "for tests", "2.4.6"),
    Rule("numpy", "numpy/f2py/*", "wraps Fortran", "2.4.6"),
    Rule("numpy", "numpy/random/*", "loaded on first use, which there is none of", "2.4.6"),
    Rule("numpy", "numpy/fft/*", "loaded on first use, which there is none of", "2.4.6"),
    Rule("numpy", "numpy/ma/*", "loaded on first use, which there is none of", "2.4.6"),
    Rule("numpy", "numpy/polynomial/*", "loaded on first use, which there is none of", "2.4.6"),
)

_NOTES = (".dist-info/RECORD", ".dist-info/direct_url.json")


def leave_out(folder: Path, wanted: Iterable[str], rules: Iterable[Rule] = RULES) -> int:
    """Delete from what pip installed in `folder` all that the rules name, and what nothing else needs.

    Each distribution's list of its files goes as well, since it would no longer be true, and so do the commands in
    `bin` and the notes on where a wheel lay, which name paths of this machine.

    Args:
        folder: What pip installed.
        wanted: The requirements that it was installed for.
        rules: What is never loaded.

    Returns:
        The bytes that this saved.

    Raises:
        PackageError: A rule matches nothing, so that its distribution is no longer what the rule was written for.
    """
    present = read(folder)
    before = sum(one.size(folder) for one in present.values())
    for rule in rules:
        _apply(rule, present, folder)
    needed = _needed(present, map(required, wanted), {rule.distribution for rule in rules if rule.pattern is None})
    for name in set(present) - needed:
        present[name].delete(folder, present[name].files)
    for one in present.values():
        one.delete(folder, [file for file in one.files if file.startswith("bin/") or file.endswith(_NOTES)])
    return before - sum(one.size(folder) for one in present.values())


def _apply(rule: Rule, present: dict[str, Distribution], folder: Path) -> None:
    one = present.get(rule.distribution)
    pattern = "*" if rule.pattern is None else rule.pattern
    matched = [file for file in one.files if fnmatchcase(file, pattern)] if one else []
    if one is None or not matched:
        found = f"{one.name} {one.version} has no such file" if one else "it was not installed"
        raise PackageError(
            f"{folder}: the rule that leaves out {rule} matches nothing: {found}, so that what else moved there is "
            f"not known; it was written for {rule.distribution} {rule.release}: write {rule.distribution}=="
            f"{rule.release} into a file and name that in PIP_CONSTRAINT, or take a newer demur"
        )
    one.delete(folder, matched)


def _needed(present: dict[str, Distribution], wanted: Iterable[str], left_out: set[str]) -> set[str]:
    """Return what is wanted or needed by that, directly or not, but by way of what is left out."""
    reached, ahead = set[str](), list(wanted)
    while ahead:
        name = ahead.pop()
        if name in present and name not in reached | left_out:
            reached.add(name)
            ahead += present[name].needs
    return reached
