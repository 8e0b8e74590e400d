"""What packaging is made of: what is left out, what pip is asked for, the trial, the zip, and what is refused."""

import dataclasses
import json
import os
import platform
import sys
import zipfile
from pathlib import Path

import pytest

from demur._package import archive, fetch, trial
from demur._package.build import Request, check_size
from demur._package.rules import RULES, Rule, leave_out
from demur.cli import main
from demur.errors import PackageError


def install(folder: Path, name: str, files: list[str], needs: tuple[str, ...] = (), version: str = "1.0") -> None:
    """Put a distribution into a folder as pip does."""
    information = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in needs)
    listed = [*files, f"{information}/METADATA", f"{information}/RECORD", f"{information}/direct_url.json"]
    for file in listed:
        path = folder / file.replace("../../bin/", "bin/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("12345678")
    (folder / information / "METADATA").write_text(metadata)
    (folder / information / "RECORD").write_text("".join(f"{file},,\n" for file in listed))


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def remaining(folder: Path) -> set[str]:
    return {name for name in archive.files(folder) if ".dist-info" not in name}


def test_a_rule_leaves_out_its_distributions_files_alone(tmp_path: Path) -> None:
    install(tmp_path, "a", ["a/x.py", "a/tests/y.py", "a/b/tests/z.py", "../../bin/a"])
    install(tmp_path, "other", ["other/tests/y.py"])
    saved = leave_out(tmp_path, ["a>=1", "other"], [Rule("a", "*/tests/*", "tests", "1.0")])
    assert remaining(tmp_path) == {"a/x.py", "other/tests/y.py"}
    assert not (tmp_path / "a" / "b").exists()
    assert not (tmp_path / "bin").exists()
    assert not [name for name in archive.files(tmp_path) if name.endswith(("RECORD", "direct_url.json"))]
    assert (tmp_path / "a-1.0.dist-info" / "METADATA").is_file()
    assert saved > 0


def test_a_distribution_left_out_takes_with_it_what_nothing_else_needs(tmp_path: Path) -> None:
    install(tmp_path, "wanted", ["wanted.py"], ("Big_One>=1", "shared", "wanted[all]; extra == 'dev'"))
    install(tmp_path, "Big.One", ["big.py"], ("only-its", "shared", "wanted"))
    install(tmp_path, "only-its", ["its.py"], ("deep (>=1)",))
    install(tmp_path, "deep", ["deep.py"], ("big-one",))
    install(tmp_path, "shared", ["shared.py"])
    leave_out(tmp_path, ["wanted~=1.0"], [Rule("big-one", None, "never loaded", "1.0")])
    assert remaining(tmp_path) == {"wanted.py", "shared.py"}


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        (Rule("a", "a/gone*", "tools", "0.9"), "a 1.0 has no such file"),
        (Rule("b", None, "tools", "0.9"), "it was not installed"),
        (Rule("b", "b/*", "tools", "0.9"), "it was not installed"),
    ],
)
def test_a_rule_that_matches_nothing_is_named(tmp_path: Path, rule: Rule, found: str) -> None:
    install(tmp_path, "a", ["a/x.py"])
    with pytest.raises(PackageError) as told:
        leave_out(tmp_path, ["a"], [rule])
    for part in (str(rule), found, f"{rule.distribution}==0.9", "PIP_CONSTRAINT"):
        assert part in str(told.value)


def test_every_rule_says_what_it_was_written_for() -> None:
    assert all(rule.why and rule.release for rule in RULES)
    assert len({(rule.distribution, rule.pattern) for rule in RULES}) == len(RULES)


# What pip is asked for


def test_every_older_c_librarys_wheels_will_do() -> None:
    tags = fetch.tags("manylinux_2_28_aarch64")
    assert tags[0] == "manylinux_2_28_aarch64"
    assert {"manylinux_2_17_aarch64", "manylinux2014_aarch64", "manylinux_2_27_aarch64"} <= set(tags)
    assert len(tags) == 13


def test_the_dependencies_are_those_of_the_base_install() -> None:
    names = {line.partition(">")[0] for line in fetch.requirements()}
    assert names == {"numpy", "onnxruntime", "tokenizers", "tqdm"}


def test_what_pip_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(PackageError, match=r"pip download failed \(exit status 1\): .*demur-needs-this"):
        fetch.fetch(["demur-needs-this"], tmp_path / "out", "manylinux_2_28_x86_64", "3.12")
    assert not (tmp_path / "out").exists()


# The Python that tries it


def test_only_this_machines_platform_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(sys, "platform", "linux")
    assert trial.runs_here("manylinux_2_28_x86_64")
    assert not trial.runs_here("manylinux_2_28_aarch64")
    assert not trial.runs_here("manylinux_2_40_x86_64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not trial.runs_here("manylinux_2_28_x86_64")


def test_a_python_of_another_version_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert trial.find_python(own) == sys.executable
    fake = put(tmp_path, "python3.99", b"#!/bin/sh\necho cpython 3.99 is not installed\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert trial.find_python("3.99") is None
    assert trial.find_python("3.98") is None


def test_a_folder_that_does_not_start_says_why(tmp_path: Path) -> None:
    put(tmp_path, "__main__.py", b"import not_there")
    with pytest.raises(PackageError, match=r"a bare Python failed .*No module named 'not_there'"):
        trial.score(tmp_path, sys.executable)


def test_two_ways_that_do_not_agree_are_an_error(tmp_path: Path) -> None:
    line = json.dumps({"demur": {"score": 0.25}})
    put(tmp_path, "__main__.py", f"print({line!r})\nprint({line!r})".encode())
    put(tmp_path, "demur/__init__.py", b"")
    put(tmp_path, "demur/serverless.py", b"def handler(e, c): return {'verdicts': [{'score': 0.25}, {'score': 0.5}]}")
    with pytest.raises(PackageError, match="expected one score"):
        trial.score(tmp_path, sys.executable)
    put(tmp_path, "demur/serverless.py", b"def handler(e, c): return {'verdicts': [{'score': 0.25}] * 2}")
    assert trial.score(tmp_path, sys.executable) == 0.25
    put(tmp_path, "demur/serverless.py", b"def handler(e, c): return {'statusCode': 400, 'error': 'no'}")
    with pytest.raises(PackageError, match="scored nothing"):
        trial.score(tmp_path, sys.executable)


# The zip


def test_a_zip_does_not_depend_on_dates_or_modes(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name in ("b.py", "a/x.so", "a/lib.so.1"):
        put(folder, name, name.encode())
    archive.write(folder, tmp_path / "first.zip")
    for path in archive.files(folder).values():
        path.chmod(0o600)
        os.utime(path, (0, 10**9))
    archive.write(folder, tmp_path / "second.zip")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "first.zip") as packed:
        modes = {entry.filename: entry.external_attr >> 16 for entry in packed.infolist()}
    assert modes == {"a/lib.so.1": 0o100755, "a/x.so": 0o100755, "b.py": 0o100644}


# What is refused before anything is fetched


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["package", *options]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    put(tmp_path, "out/mine" if name == "out" else name, b"mine")
    said = refused(capsys, "--target", "folder", "--out", str(tmp_path / "out"))
    assert f"{tmp_path / name}: is there already; remove it, or give another --out" in said
    assert [path.read_bytes() for path in archive.files(tmp_path).values()] == [b"mine"]


def test_a_python_whose_runtime_is_too_old_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert "expected 3.12 or later" in refused(capsys, "--target", "lambda", "--out", out, "--python", "3.11")
    assert "'nowhere' is neither" in refused(capsys, "--target", "folder", "--out", out, "--model", "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "none"))
    assert "pip download failed" in refused(capsys, "--target", "folder", "--out", str(tmp_path / "deep" / "out"))
    assert archive.files(tmp_path) == {}
    assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.parametrize("python", ["3.10", "2.7", "3", "3.12.1", "twelve"])
def test_a_version_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str], python: str) -> None:
    with pytest.raises(SystemExit):
        main(["package", "--target", "folder", "--out", "x", "--python", python])
    assert f"'{python}' is no version of Python from 3.11" in capsys.readouterr().err


def test_what_is_too_large_for_a_function_is_refused_and_a_folder_has_no_limit(tmp_path: Path) -> None:
    function = Request("lambda", tmp_path, None, "manylinux_2_28_x86_64", "3.12")
    check_size(function, 250 * 2**20)
    with pytest.raises(PackageError, match=r"250 MiB unzipped, .* container image"):
        check_size(function, 250 * 2**20 + 1)
    check_size(dataclasses.replace(function, target="folder"), 2**40)
