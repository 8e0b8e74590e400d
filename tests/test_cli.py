"""The `demur` command as a shell sees it: `demur check`, wrong usage, and what can't be done."""

import dataclasses
import json
from pathlib import Path

import _cli
import pytest
from _cli import ANSWER, CHAT, REFUSAL, Run, refused
from conftest import BundleCopy

import demur_models
from demur import Classifier, Verdict

run = _cli.run


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
        (["score", "/dev"], "directory"),
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
