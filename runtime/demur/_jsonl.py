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


def parse(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a line.

    Raises:
        InputError: It is none, or not UTF-8.
    """
    return _parse(raw)[1]


def encode(raw: bytes, outcome: Outcome, where: dict[str, Any]) -> tuple[list[bytes], bool]:
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
    if outcome.error is None and (body := _plain(raw)):
        return [body[:-1].rstrip(_SPACE), f', "{KEY}": {dump(outcome.to_dict())}}}'.encode()], False
    error = outcome.error
    try:
        text, row = _parse(raw)
        result = outcome.to_dict() if error is None else {"error": error, **where}
        return [_add(text, row, result).encode()], error is not None
    except InputError as failure:
        error = error or str(failure)
    text = raw.decode("utf-8", "replace").strip()
    return [dump({"raw": text, KEY: {"error": error, **where}}).encode()], True


def compact(raw: bytes) -> bytes:
    """Return a line as it came, without what stands around it, on one line."""
    body = raw.removeprefix(_BOM).strip(_SPACE)
    if b"\n" not in body and b"\r" not in body:
        return body
    try:
        return dump(json.loads(body)).encode()
    except (ValueError, RecursionError):
        return b" ".join(body.splitlines())


def dump(value: object) -> str:
    """Return JSON that can be written as UTF-8."""
    text = json.dumps(value, ensure_ascii=False)
    # subtle: a lone surrogate can be read from an escape but not be written as UTF-8.
    return text if _encodable(text) else json.dumps(value)


def _plain(raw: bytes) -> bytes | None:
    """Return the text of a line that was scored, if nothing but its end need change and it has no line breaks."""
    body = raw.removeprefix(_BOM).strip(_SPACE)
    # subtle: a key may be written with escapes, which only a parser sees.
    changes = not (body.startswith(b"{") and body.endswith(b"}")) or KEY.encode() in body or b"\\u00" in body
    return None if changes or b"\n" in body or b"\r" in body else body


def _parse(raw: bytes) -> tuple[str, dict[str, Any]]:
    try:
        text = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8: byte {error.object[error.start]:#04x} at position {error.start}") from error
    try:
        row = json.loads(text)
    except RecursionError as error:
        raise InputError("not usable JSON: nested too deeply") from error
    except ValueError as error:
        raise InputError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise InputError(f"a line is a JSON object, this one is a {type(row).__name__}")
    return text, row


def _add(text: str, row: dict[str, Any], result: dict[str, Any]) -> str:
    if KEY in row or "\n" in text or "\r" in text:
        # Scored before, so that the old result makes way, or on several lines: the object is written anew.
        try:
            return dump({**row, KEY: result})
        except RecursionError as error:  # subtle: writing takes a little more depth than reading
            raise InputError("not usable JSON: nested too deeply") from error
    comma = ", " if row else ""
    return f'{text[:-1].rstrip()}{comma}"{KEY}": {dump(result)}}}'


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
