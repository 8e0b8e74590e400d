"""`python -m benchmarks`: which scripts run, with which options, and what is said of those that can't."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not in the sdist", allow_module_level=True)
sys.path.append(str(BENCHMARKS))

import _common
import _needs
import _runner

WRITES = '''"""Is it written?"""
import argparse, json, os, sys
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("--data")
parser.add_argument("--rounds", type=int, default=9)
results = Path(os.environ["DEMUR_BENCHMARKS_OUT"]) / "results"
results.mkdir(exist_ok=True)
(results / "writes.json").write_text(json.dumps(vars(parser.parse_args())))
'''


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    sources = {
        "writes": WRITES,
        "breaks": '"""Does it break?\n\nIt does."""\nraise ValueError("no such luck")\n',
        "imports": '"""Is it installed?"""\nimport a_module_that_is_not_there\n',
        "wants": f'"""Is it there?"""\nimport sys\nsys.path.append({str(BENCHMARKS)!r})\n'
        'import _needs\n_needs.require("json", "another_module_that_is_not_there")\n',
        "compares": '"""Is it close?"""\nimport argparse\n'
        'argparse.ArgumentParser().add_argument("--checkpoint", required=True)\nraise SystemExit("it was run")\n',
    }
    for name, source in sources.items():
        (tmp_path / f"bench_{name}.py").write_text(source)
    (tmp_path / "_helper.py").write_text("raise SystemExit('a helper was run')")
    return tmp_path


def lines(said: str) -> dict[str, str]:
    """The final table's lines by question."""
    table = said.rpartition("\n\n")[2].splitlines()
    return {line.split()[0]: line for line in table}


def test_all_questions_run_though_some_cannot(scripts: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status = _runner.main([], scripts)

    found = lines(capfd.readouterr().out)
    assert list(found) == ["breaks", "compares", "imports", "wants", "writes"]
    assert " ran " in found["writes"]
    assert found["writes"].endswith(os.path.relpath(scripts / "results" / "writes.json"))
    assert " failed " in found["breaks"]
    assert found["breaks"].endswith("ValueError: no such luck")
    assert " absent " in found["imports"]
    assert "a_module_that_is_not_there" in found["imports"]
    assert " absent " in found["wants"]
    assert "another_module_that_is_not_there: pip install" in found["wants"]
    assert " absent " in found["compares"]
    assert found["compares"].endswith("needs --checkpoint")
    assert status == 1


def test_what_is_absent_is_no_failure(scripts: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert _runner.main(["compares", "wants", "imports"], scripts) == 0
    assert list(lines(capfd.readouterr().out)) == ["compares", "wants", "imports"]


def test_a_script_gets_the_options_that_it_knows(scripts: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = ["writes", "--data", "texts", "--checkpoint", "weights"]

    assert _runner.main(given, scripts) == 0
    assert json.loads((scripts / "results" / "writes.json").read_text()) == {"data": "texts", "rounds": 9}


def test_a_failure_says_where_even_when_it_says_nothing(scripts: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (scripts / "bench_silent.py").write_text('"""Is it said?"""\nraise SystemExit(3)\n')

    (scripts / "bench_trailing.py").write_text('"""Is it read?"""\nraise SystemExit("out of luck\\n")\n')

    assert _runner.main(["silent", "trailing"], scripts) == 1
    found = lines(capfd.readouterr().out)
    assert found["silent"].endswith("exit status 3")
    assert found["trailing"].endswith("out of luck")


def test_old_results_are_not_shown_as_new(scripts: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (scripts / "bench_idles.py").write_text('"""Nothing to see?"""\n')
    (scripts / "results").mkdir()
    (scripts / "results" / "idles.json").write_text("{}")

    assert _runner.main(["idles"], scripts) == 0
    assert "idles.json" not in lines(capfd.readouterr().out)["idles"]


def test_a_quick_run_leaves_kept_results_alone(
    scripts: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(_runner.QUICK, "writes", ("--rounds", "1"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert _runner.main(["writes", "--quick"], scripts) == 0
    assert not (scripts / "results").exists()
    (written,) = tmp_path.glob("demur-benchmarks-*/results/writes.json")
    assert json.loads(written.read_text())["rounds"] == 1


def test_an_unknown_question_is_refused_before_anything_runs(scripts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        _runner.main(["writes", "wrights"], scripts)

    assert "wrights: no such question; there are breaks, compares, imports, wants, writes" in capsys.readouterr().err
    assert not (scripts / "results").exists()


def test_the_command_lists_every_script_with_what_it_asks() -> None:
    command = [sys.executable, "-m", BENCHMARKS.name, "--help"]
    said = subprocess.run(command, cwd=BENCHMARKS.parent, capture_output=True, text=True, check=True).stdout

    for path in BENCHMARKS.glob("bench_*.py"):
        (line,) = [line for line in said.splitlines() if line.split()[:1] == [path.stem.removeprefix("bench_")]]
        first = path.read_text().removeprefix('"""').partition("\n")[0]
        assert first.endswith("?") or "? " in first, f"{path.name} asks nothing"
        assert line.endswith(first)


def test_what_makes_a_run_quick_are_options_of_the_scripts() -> None:
    known = {question.name: question.options for question in _runner.questions()}

    for name, options in _runner.QUICK.items():
        assert {word for word in options if word.startswith("--")} <= known[name], name


@pytest.mark.parametrize("name", ["latency", "many", "parity"])
def test_what_compares_with_a_checkpoint_says_so(name: str) -> None:
    (question,) = [one for one in _runner.questions() if one.name == name]

    assert question.needed == {"--checkpoint"}


def test_results_go_where_the_command_says(tmp_path: Path) -> None:
    code = "import _common; _common.write_results('trial', {'found': 1}); _common.write_section('trial', 'It is.')"
    environment = os.environ | {_needs.OUT: str(tmp_path), "PYTHONPATH": os.pathsep.join([str(BENCHMARKS), *sys.path])}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    assert json.loads((tmp_path / "results" / "trial.json").read_text()) == {"found": 1}
    assert "It is." in (tmp_path / "README.md").read_text()
    assert _common.RESULTS == BENCHMARKS / "results"
    assert not (BENCHMARKS / "results" / "trial.json").exists()
