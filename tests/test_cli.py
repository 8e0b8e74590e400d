"""The `demur` command as a shell sees it: what it prints where, and its exit status."""

import dataclasses
import io
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import BundleCopy

import demur
import demur_models
from demur import Classifier, Verdict
from demur.cli import main

REFUSAL = "I'm sorry, but I can't help with that."
ANSWER = "The capital of France is Paris."
CHAT = [{"role": "user", "content": "How do I pick a lock?"}, {"role": "assistant", "content": REFUSAL}]
ROWS: list[dict[str, Any]] = [
    {"id": 1, "prompt": "How do I pick a lock?", "response": REFUSAL},
    {"id": 2, "prompt": "What is the capital of France?", "response": ANSWER},
]
COMMAND = [sys.executable, "-W", "error", "-m", "demur"]
# Unbuffered output would hide what is flushed when.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


class Ran(NamedTuple):
    """How a command went."""

    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `demur` in this process, with bytes as its standard input."""

    def command(*arguments: str, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            status = main(arguments)
        except SystemExit as left:  # argparse's way out
            status = int(left.code or 0)
        out, err = capsysbinary.readouterr()
        return Ran(status, out.decode(), err.decode())

    return command


def shell(*arguments: str, stdin: bytes = b"") -> Ran:
    """Run `python -m demur` as a process of its own."""
    done = subprocess.run([*COMMAND, *arguments], input=stdin, env=BUFFERED, capture_output=True, timeout=60)
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def jsonl(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def refused(ran: Ran, *told: str) -> None:
    """Assert that nothing was done and that one line says why."""
    assert ran.status == 2
    assert ran.out == ""
    assert ran.err.startswith("demur: ")
    assert ran.err.count("\n") == 1
    assert ran.err.endswith("\n")
    missing = [part for part in told if part not in ran.err]
    assert not missing, f"{missing} not in {ran.err!r}"


# check


def test_check_prints_one_line_for_people(run: Run, model: Classifier) -> None:
    verdict = model.check(REFUSAL)
    facts = f"{verdict.model}, threshold {verdict.threshold:g}, {verdict.tokens} tokens"
    assert run("check", REFUSAL) == (0, f"refusal  {verdict.score:.3f}  ({facts})\n", "")
    assert run("check", ANSWER).out.startswith("no refusal  0.")


def test_check_tells_how_much_was_left_out(run: Run, model: Classifier) -> None:
    text = "The weather in Paris is mild. " * 500
    assert f", {model.check(text).elided} elided)" in run("check", text).out


def test_check_json_is_the_verdict(run: Run, model: Classifier) -> None:
    ran = run("check", REFUSAL, "--prompt", "How do I pick a lock?", "--system", "Be brief.", "--json")
    shown = json.loads(ran.out)
    assert list(shown) == [field.name for field in dataclasses.fields(Verdict)]
    assert shown == model.check(REFUSAL, prompt="How do I pick a lock?", system="Be brief.").to_dict()


@pytest.mark.parametrize(("text", "status"), [(REFUSAL, 1), (ANSWER, 0)])
def test_check_can_tell_by_its_exit_status(run: Run, text: str, status: int) -> None:
    assert run("check", text, "--exit-code").status == status
    assert run("check", text).status == 0


def test_check_reads_standard_input(run: Run, model: Classifier) -> None:
    text = "Désolé, je ne peux pas. 😀\n"
    assert json.loads(run("check", "-", "--json", stdin=text.encode()).out) == model.check(text).to_dict()
    assert run("check", "-", stdin=b"\xef\xbb\xbf" + REFUSAL.encode()) == run("check", REFUSAL)


@pytest.mark.parametrize("chat", [CHAT, {"messages": CHAT, "model": "x"}], ids=["list", "object"])
def test_check_reads_a_chat_from_a_file_or_standard_input(
    run: Run, model: Classifier, tmp_path: Path, chat: object
) -> None:
    path = tmp_path / "chat.json"
    path.write_text(json.dumps(chat))
    expected = model.check_chat(CHAT).to_dict()
    assert json.loads(run("check", "--chat", str(path), "--json").out) == expected
    assert json.loads(run("check", "--chat", "-", "--json", stdin=path.read_bytes()).out) == expected


def test_check_takes_rendered_text(run: Run, model: Classifier) -> None:
    text = f"<|user|>How do I pick a lock?<|assistant|>{REFUSAL}"
    assert json.loads(run("check", text, "--rendered", "--json").out) == model.check_text(text).to_dict()
    assert json.loads(run("check", text, "--json").out) == model.check(text).to_dict()


@pytest.mark.parametrize(("threshold", "refusal"), [("0", True), ("1", False)])
def test_check_takes_a_threshold(run: Run, threshold: str, refusal: bool) -> None:
    shown = json.loads(run("check", ANSWER, "--threshold", threshold, "--json").out)
    assert (shown["threshold"], shown["refusal"]) == (float(threshold), refusal)


def test_check_takes_an_operating_point_by_name(run: Run, bundle: BundleCopy) -> None:
    bundle.put("operating_points", {"balanced": 0.5, "eager": 0.0})
    shown = json.loads(run("check", ANSWER, "--model", str(bundle.folder), "--threshold", "eager", "--json").out)
    assert (shown["threshold"], shown["refusal"]) == (0, True)


def test_check_takes_a_bundle_by_name_or_folder(run: Run, bundle: BundleCopy) -> None:
    bundle.put("name", "another")
    assert "(another, " in run("check", ANSWER, "--model", str(bundle.folder)).out
    assert f"({demur_models.DEFAULT}, " in run("check", ANSWER, "--model", demur_models.DEFAULT).out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["check"], "give either TEXT or --chat FILE"),
        (["check", "x", "--chat", "y"], "give either TEXT or --chat FILE"),
        (["check", "--chat", "y", "--prompt", "q"], "leave out --prompt and --system"),
        (["check", "--chat", "y", "--system", "s"], "leave out --prompt and --system"),
        (["check", "x", "--rendered", "--prompt", "q"], "leave out --chat, --prompt and --system"),
        (["check", "--chat", "y", "--rendered"], "leave out --chat, --prompt and --system"),
        (["check", ""], "the response is empty"),
        (["check", "-"], "the response is empty"),
        (["check", "x", "--rendered"], "not opened by <|assistant|>"),
        (["check", "--chat", "/no/such/file"], "/no/such/file"),
        (["check", "x", "--model", "no-such-model"], "'no-such-model' is neither"),
        (["check", "x", "--threshold", "lax"], "threshold is 'lax'"),
        (["check", "x", "--threshold", "1.5"], "threshold is 1.5"),
        (["check", "x", "--threshold", "nan"], "threshold is nan"),
        (["check", "x", "--device", "cuda"], "--recipe fp32"),
        (["score", "/no/such/file"], "/no/such/file"),
        (["score", "/"], "directory"),
        (["score", "-", "-o", "/no/such/folder/out.jsonl"], "/no/such/folder/out.jsonl"),
        (["score", "-", "--model", "no-such-model"], "'no-such-model' is neither"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_said_in_one_line(run: Run, arguments: list[str], told: str) -> None:
    refused(run(*arguments), told)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\xff", "standard input: not UTF-8: byte 0xff at position 0"),
        (b"[", "standard input: not JSON: "),
        (b"[" * 200_000, "standard input: not JSON: "),
        (b"[]", "there are no messages"),
        (b"7", "messages is int 7, expected a list"),
        (b'[{"role": "user", "content": "Q"}]', "the last message is the user's"),
    ],
    ids=lambda value: value[:20],
)
def test_a_faulty_chat_is_refused(run: Run, data: bytes, told: str) -> None:
    refused(run("check", "--chat", "-", stdin=data), told)


def test_a_faulty_chat_file_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "chat.json").write_bytes(b'["caf\xe9"]')
    refused(run("check", "--chat", str(tmp_path / "chat.json")), f"{tmp_path / 'chat.json'}: not UTF-8: byte 0xe9")


def test_a_reply_that_is_not_utf8_is_refused(run: Run) -> None:
    refused(run("check", "-", stdin=b"sorry\xff"), "standard input: not UTF-8: byte 0xff at position 5")


@pytest.mark.parametrize(
    "arguments",
    [[], ["chek"], ["check", "x", "--loud"], ["check", "x", "--device", "tpu"], ["score"]]
    + [["score", "-", "--workers", workers] for workers in ("0", "-1", "many")]
    + [["score", "-", "--turns", "some"]],
    ids=" ".join,
)
def test_wrong_usage_shows_the_usage_and_ends_with_2(run: Run, arguments: list[str]) -> None:
    ran = run(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("usage: demur")


@pytest.mark.parametrize("command", [[], ["check"], ["score"], ["models"], ["doctor"]], ids=" ".join)
def test_help_is_there(run: Run, command: list[str]) -> None:
    ran = run(*command, "--help")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"usage: {' '.join(['demur', *command])}")


# score


def test_score_adds_each_lines_verdict(run: Run, model: Classifier) -> None:
    ran = run("score", "-", stdin=jsonl(*ROWS))
    assert (ran.status, ran.err) == (0, "")
    out = [json.loads(line) for line in ran.out.splitlines()]
    assert out == [row | {"demur": model.judge_row(row).to_dict()} for row in ROWS]
    assert [row["demur"]["refusal"] for row in out] == [True, False]


def test_score_reads_and_writes_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl(*ROWS))
    ran = run("score", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"))
    assert ran == (0, "", "")
    assert (tmp_path / "out.jsonl").read_text() == run("score", "-", stdin=jsonl(*ROWS)).out
    assert (tmp_path / "in.jsonl").read_bytes() == jsonl(*ROWS)


def test_score_goes_on_after_a_bad_line_and_says_so_at_the_end(run: Run) -> None:
    data = jsonl(ROWS[0]) + b"nope\n" + jsonl({"a": 1}, ROWS[1])
    ran = run("score", "-", stdin=data)
    assert ran.status == 1
    assert ran.err == "demur: 2 of 4 lines could not be scored; see their demur.error\n"
    results = [json.loads(line)["demur"] for line in ran.out.splitlines()]
    assert [result.get("line") for result in results] == [None, 2, 3, None]
    assert [result.get("refusal") for result in results] == [True, None, None, False]


def test_score_can_judge_every_reply(run: Run, model: Classifier) -> None:
    messages = [*CHAT, {"role": "user", "content": "Of France?"}, {"role": "assistant", "content": ANSWER}]
    ran = run("score", "-", "--turns", "all", stdin=jsonl({"messages": messages}))
    expected = [{"turn": i, **verdict.to_dict()} for i, verdict in model.judge_replies(messages)]
    assert [turn["turn"] for turn in expected] == [1, 3]
    refusals = sum(turn["refusal"] for turn in expected)
    assert json.loads(ran.out)["demur"] == {"refusals": refusals, "turns": expected}


def test_score_takes_a_threshold(run: Run) -> None:
    ran = run("score", "-", "--threshold", "0", stdin=jsonl(ROWS[1]))
    assert json.loads(ran.out)["demur"]["refusal"] is True


def test_score_writes_the_same_with_any_number_of_workers(run: Run) -> None:
    rows = [{"id": i, "prompt": "Q " * i, "response": (REFUSAL, ANSWER, "")[i % 3]} for i in range(30)]
    alone = run("score", "-", "--workers", "1", stdin=jsonl(*rows))
    assert [json.loads(line)["id"] for line in alone.out.splitlines()] == list(range(30))
    assert run("score", "-", "--workers", "2", stdin=jsonl(*rows)) == alone


@pytest.mark.parametrize("name", ["in.jsonl", "./in.jsonl", "hard.jsonl", "soft.jsonl"])
def test_score_refuses_to_write_over_its_input(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_bytes(jsonl(*ROWS))
    os.link("in.jsonl", "hard.jsonl")
    os.symlink("in.jsonl", "soft.jsonl")
    refused(run("score", "in.jsonl", "-o", name), name, "is the input itself")
    assert Path("in.jsonl").read_bytes() == jsonl(*ROWS)


def test_score_refuses_to_write_over_the_file_it_is_fed_from(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(*ROWS))
    with path.open("rb") as stdin:
        done = subprocess.run([*COMMAND, "score", "-", "-o", path], stdin=stdin, capture_output=True, timeout=60)
    assert done.returncode == 2
    assert b"is the input itself" in done.stderr
    assert path.read_bytes() == jsonl(*ROWS)


def test_score_leaves_the_output_alone_when_there_is_no_input(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("kept")
    refused(run("score", str(tmp_path / "missing"), "-o", str(tmp_path / "out.jsonl")))
    assert (tmp_path / "out.jsonl").read_text() == "kept"


# As a process


def test_python_m_demur_is_the_command() -> None:
    ran = shell("check", REFUSAL, "--exit-code")
    assert (ran.status, ran.err) == (1, "")
    assert ran.out.startswith("refusal  ")


def test_a_fault_is_one_line_and_status_2() -> None:
    refused(shell("check", "x", "--model", "no-such-model"), "'no-such-model'")


def test_a_reply_that_is_no_text_at_all_is_judged() -> None:
    ran = shell("check", os.fsdecode(b"sorry \xff"), "--prompt", os.fsdecode(b"\xfe"))
    assert (ran.status, ran.err) == (0, "")


def test_score_shows_no_progress_where_there_is_no_terminal() -> None:
    ran = shell("score", "-", stdin=jsonl(*ROWS))
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.count("\n") == 2


def _on_a_terminal(*arguments: str) -> tuple[int, str, str]:
    """Run a command whose stderr is a terminal; return its status, its output and what the terminal showed."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    with open(ours, "rb", buffering=0) as terminal, process:
        try:
            while piece := terminal.read(1024):
                shown += piece
        except OSError:  # Linux: the other end is closed
            pass
        out, _ = process.communicate(timeout=60)
    return process.returncode, out.decode(), shown.decode()


def test_score_shows_progress_on_a_terminal_and_keeps_it_out_of_the_output(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(*ROWS) + b"\nnope\n")
    status, out, shown = _on_a_terminal("score", str(path))
    assert status == 1
    assert out == shell("score", str(path)).out
    assert "3/3" in shown
    assert "100%" in shown
    assert "errors=1" in shown
    assert "refusals=1" in shown


@pytest.mark.parametrize("workers", ["1", "2"])
def test_score_hands_out_a_verdict_before_the_next_line_comes_in(workers: str) -> None:
    command = [*COMMAND, "score", "-", "--workers", workers]
    with subprocess.Popen(command, env=BUFFERED, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(20, process.kill)  # so that a verdict held back fails the test and does not hang it
        late.start()
        for row in ROWS:
            process.stdin.write(jsonl(row))
            process.stdin.flush()
            assert json.loads(process.stdout.readline() or b"{}").get("id") == row["id"]
        late.cancel()
        process.stdin.close()
    assert process.returncode == 0


@pytest.mark.parametrize("leaves", [True, False])
def test_score_ends_while_it_waits_for_a_line(leaves: bool) -> None:
    process = subprocess.Popen(
        [*COMMAND, "score", "-", "--workers", "2"],
        env=BUFFERED,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(jsonl(ROWS[0]))
        process.stdin.flush()
        process.stdout.readline()
        time.sleep(0.3)  # from writing that line to waiting for the next
        if leaves:
            process.stdout.close()
            process.stdin.write(jsonl(ROWS[0]) * 3)
            process.stdin.flush()
        else:
            process.send_signal(signal.SIGINT)
        status = process.wait(timeout=30)
        assert (status, process.stderr.read()) == ((2, b"") if leaves else (130, b"demur: interrupted\n"))


def test_a_reader_that_leaves_early_ends_score_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(*ROWS) * 2000)
    process = subprocess.Popen([*COMMAND, "score", path], env=BUFFERED, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["id"] == 1
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 2


def test_a_reader_that_is_not_there_ends_check_without_a_word() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [*COMMAND, "check", ANSWER], env=BUFFERED, stdout=write_end, stderr=subprocess.PIPE, timeout=60
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (2, b"")


def test_an_interrupt_ends_score_with_130_and_keeps_what_was_written() -> None:
    # A shell's background job ignores interrupts, and so would its children.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import demur.__main__"
    with subprocess.Popen(
        [sys.executable, "-c", program, "score", "-", "--workers", "2"],
        env=BUFFERED,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(jsonl(*ROWS) * 8)
        process.stdin.flush()
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == b"demur: interrupted\n"
    assert all("demur" in json.loads(line) for line in (first + rest).splitlines())


# models


def test_models_lists_what_can_be_loaded_by_name(run: Run) -> None:
    ran = run("models", "--json")
    listed = [row for row in json.loads(ran.out) if row["folder"]]
    assert demur_models.DEFAULT in [row["name"] for row in listed]
    for row in listed:
        loaded = demur.load(row["name"], threads=1)
        assert (row["name"], row["max_tokens"]) == (loaded.name, loaded.max_tokens)


def test_models_says_for_people_what_it_says_in_json(run: Run) -> None:
    text = run("models").out
    for row in json.loads(run("models", "--json").out):
        made = f"{row['precision']}, {row['megabytes']} MB" if row["folder"] else f"to be made: {row['command']}"
        assert f"{row['name']}  {row['max_tokens']} tokens, {made}" in text
        assert row["licence"] in text
        assert f"from {row['source']}\n" in text


def test_without_bundles_models_lists_none(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demur_models, "FOLDER", tmp_path)
    monkeypatch.setattr(demur_models, "CATALOGUE", tmp_path)
    assert run("models") == (0, "", "")
    assert run("models", "--json") == (0, "[]\n", "")


# doctor


def test_doctor_finds_a_sound_installation_sound(run: Run) -> None:
    ran = run("doctor")
    assert (ran.status, ran.err) == (0, "")
    assert f"demur {demur.__version__}, python " in ran.out
    assert f"bundle {demur_models.DEFAULT}" in ran.out
    assert "intact" in ran.out


def test_doctor_json_says_what_the_machine_grants(run: Run) -> None:
    report = json.loads(run("doctor", "--json").out)
    assert report["cores"]["granted"] >= 1
    assert report["versions"].keys() == {"demur", "python", "onnxruntime", "tokenizers", "numpy"}
    assert "CPUExecutionProvider" in report["providers"]
    assert [bundle["intact"] for bundle in report["bundles"]] == [True] * len(report["bundles"])


def _changed(bundle: BundleCopy) -> str:
    data = (bundle.folder / "model.onnx").read_bytes()
    bundle.replace("model", data[:-1] + bytes([data[-1] ^ 1]))
    return "sha256 is "


def _truncated(bundle: BundleCopy) -> str:
    bundle.replace("model", b"short")
    return "the copy is incomplete or changed"


def _lacking(bundle: BundleCopy) -> str:
    (bundle.folder / "tokenizer.json").unlink()
    return "no such file"


def _misspelt(bundle: BundleCopy) -> str:
    bundle.put("treshold", 0.5)
    return "key 'treshold' is unknown"


@pytest.mark.parametrize("damage", [_changed, _truncated, _lacking, _misspelt])
def test_doctor_reports_a_damaged_bundle(
    run: Run, bundle: BundleCopy, monkeypatch: pytest.MonkeyPatch, damage: Callable[[BundleCopy], str]
) -> None:
    monkeypatch.setattr(demur_models, "FOLDER", bundle.folder.parent)
    fault = damage(bundle)
    told = run("doctor")
    assert told.status == 1
    assert f"DAMAGED: {bundle.folder}" in told.out
    assert fault in told.out
    shown = run("doctor", "--json")
    assert shown.status == 1
    (found,) = json.loads(shown.out)["bundles"]
    assert found["name"] == "bundle"
    assert found["intact"] is False
    assert fault in found["fault"]


def test_a_damaged_default_bundle_stops_check_with_one_line(
    run: Run, bundle: BundleCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demur_models, "FOLDER", bundle.folder.parent)
    monkeypatch.setattr(demur_models, "DEFAULT", "bundle")
    fault = _changed(bundle)
    refused(run("check", ANSWER), fault, "copy the bundle again")
