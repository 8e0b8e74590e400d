"""One line of JSONL in, the same line with its verdict out."""

import json
from typing import Any

from demur._bulk import _verdict_columns
from demur._bulk._outcome import Outcome
from demur.errors import InputError

KEY = _verdict_columns.OBJECT
_BOM = b"\xef\xbb\xbf"
# What may stand around a JSON value (RFC 8259), and two more characters that `str.strip` takes away.
_SPACE = b" \t\r\n\x0b\x0c"
# Bytes at either edge that are looked at for white space; there is seldom more of it.
_NEAR = 64
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_SPACES = tuple(bytes([byte]) for byte in _SPACE)
_KEY, _OPEN, _CLOSE = KEY.encode(), ord("{"), ord("}")


def parse(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a line.

    Raises:
        InputError: It is none, or not UTF-8.
    """
    start, end = _edges(raw)
    try:
        # subtle: a view, since a line may be of many megabytes and has a line break to leave out.
        text = str(memoryview(raw)[start:end], "utf-8").strip()
    except UnicodeDecodeError as error:
        at = start + error.start
        raise InputError(f"not UTF-8: byte {raw[at]:#04x} at position {at}") from error
    try:
        row = json.loads(text)
    except RecursionError as error:
        raise InputError("not usable JSON: nested too deeply") from error
    except ValueError as error:
        raise InputError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise InputError(f"a line is a JSON object, this one is a {type(row).__name__}")
    return row


def encode(raw: bytes, outcome: Outcome, where: dict[str, Any]) -> tuple[list[bytes | memoryview], bool]:
    """Return a line with what became of it, and whether it is one that could not be scored.

    The input's own text is kept as it is and the `demur` object added at its end, so that numbers, order and
    escapes survive. A line that could not be scored gets `"demur": {"error": ..., ...}`; if it is no JSON object,
    its text goes into `"raw"`.

    Args:
        raw: The line.
        outcome: What became of it.
        where: What is said, beside the error, about where the line is.

    Returns:
        The new line's bytes in pieces, without a line break, so that a long line isn't copied; and whether it is an
        error's.
    """
    if outcome.error is None and (edges := _plain(raw)):
        return _with_end(raw, *edges, f', "{KEY}": {_text(outcome.to_dict())}}}'), False
    error = outcome.error
    try:
        row = parse(raw)
        result = outcome.to_dict() if error is None else {"error": error, **where}
        return _add(raw, row, result), error is not None
    except InputError as failure:
        error = error or str(failure)
    told = _text({"error": error, **where})
    return [b'{"raw": ', dump(raw.decode("utf-8", "replace").strip()), f', "{KEY}": {told}}}'.encode()], True


def compact(raw: bytes) -> bytes | memoryview:
    """Return a line as it came, without what stands around it, on one line."""
    start, end = _edges(raw)
    if not _broken(raw, start, end):
        return memoryview(raw)[start:end]
    body = raw[start:end]
    try:
        return dump(json.loads(body))
    except (ValueError, RecursionError):
        return b" ".join(body.splitlines())


def dump(value: object) -> bytes:
    """Return JSON as UTF-8."""
    try:
        return _ENCODER.encode(value).encode()
    except UnicodeEncodeError:  # subtle: a lone surrogate can be read from an escape but not be written as UTF-8
        return json.dumps(value).encode()


def _text(value: object) -> str:
    return dump(value).decode()


def _edges(raw: bytes) -> tuple[int, int]:
    """Return where a line begins and ends without the mark and the white space that stand around it."""
    start = len(_BOM) if raw.startswith(_BOM) else 0
    head = raw[start : start + _NEAR]
    start += len(head) - len(head.lstrip(_SPACE))
    if raw[start : start + 1] in _SPACES:
        start = len(raw) - len(raw[start:].lstrip(_SPACE))
    return start, _end(raw, start, len(raw))


def _end(raw: bytes, start: int, end: int) -> int:
    """Return where a part of a line ends without white space. Of a part of many megabytes only its end is copied."""
    tail = raw[max(start, end - _NEAR) : end]
    end -= len(tail) - len(tail.rstrip(_SPACE))
    return start + len(raw[start:end].rstrip(_SPACE)) if raw[end - 1 : end] in _SPACES else end


def _plain(raw: bytes) -> tuple[int, int] | None:
    """Return the edges of a line that was scored, if nothing but its end need change and it has no line breaks."""
    start, end = _edges(raw)
    braced = end - start > 1 and raw[start] == _OPEN and raw[end - 1] == _CLOSE
    # subtle: a key may be written with escapes, which only a parser sees.
    if not braced or _KEY in raw or b"\\u00" in raw or _broken(raw, start, end):
        return None
    return start, end


def _broken(raw: bytes, start: int, end: int) -> bool:
    """Whether there is a line break between two places."""
    return raw.find(b"\n", start, end) >= 0 or raw.find(b"\r", start, end) >= 0


def _add(raw: bytes, row: dict[str, Any], result: dict[str, Any]) -> list[bytes | memoryview]:
    # subtle: what stands around an object in Unicode's white space isn't JSON's either, so braces are its edges.
    start, end = raw.index(b"{"), raw.rindex(b"}") + 1
    if KEY in row or _broken(raw, start, end):
        # Scored before, so that the old result makes way, or on several lines: the object is written anew.
        try:
            return [dump({**row, KEY: result})]
        except RecursionError as error:  # subtle: writing takes a little more depth than reading
            raise InputError("not usable JSON: nested too deeply") from error
    return _with_end(raw, start, end, f'{", " if row else ""}"{KEY}": {_text(result)}}}')


def _with_end(raw: bytes, start: int, end: int, added: str) -> list[bytes | memoryview]:
    """Return an object's bytes with something added before its closing brace."""
    return [memoryview(raw)[start : _end(raw, start, end - 1)], added.encode()]
