"""An AWS Lambda handler: `demur.serverless.handler`.

It answers API Gateway's REST and HTTP APIs (payload versions 1.0 and 2.0), function URLs and direct invocations. What
is posted, or invoked with, is one conversation in any of the shapes of `Classifier.stream`, or `{"rows": [...]}` with
many of them; the answer is its verdict, or `{"verdicts": [...]}` with an `{"error": ...}` in the place of each
that can't be judged. Bad input is answered with the status 400 and the reason, too large input with 413.

`demur package --target lambda` builds a function that needs nothing else. Variables of its environment:

DEMUR_MODEL: a bundle's name or folder; by default the one that was packaged.
DEMUR_THRESHOLD: a number or the name of one of the bundle's operating points.
DEMUR_MAX_BYTES: the largest body of a request, by default 4,000,000 bytes.
DEMUR_MAX_ROWS: the most rows of a request, by default 1,000.
"""

import base64
import binascii
import json
import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from demur import _machine
from demur._load import load, threshold_of
from demur._verdict import Verdict
from demur.errors import InputError

if TYPE_CHECKING:
    from demur._classifier import Classifier

_ROWS = "rows"
_MAX_BYTES, _MAX_ROWS = 4_000_000, 1_000
# Memory for which Lambda grants a whole processor (AWS Lambda Developer Guide, "Configure Lambda function memory").
_CORE_MEGABYTES = 1_769


class Handler:
    """Answers a function's events with a classifier's verdicts.

    Args:
        model: The classifier.
        max_bytes: The largest body of a request over HTTP; the size of a direct invocation Lambda limits itself.
        max_rows: The most rows of a request.
        workers: Rows judged at a time.
    """

    def __init__(
        self, model: "Classifier", *, max_bytes: int = _MAX_BYTES, max_rows: int = _MAX_ROWS, workers: int = 1
    ) -> None:
        self._model, self._max_bytes, self._max_rows, self._workers = model, max_bytes, max_rows, workers

    def __call__(self, event: object, context: object = None) -> dict[str, Any]:
        """Return what Lambda is to answer.

        Args:
            event: What Lambda passes: a request over HTTP, or what the function was invoked with.
            context: Not looked at.

        Returns:
            For a request over HTTP its response, whose body is JSON. Else the verdict or verdicts themselves, or
            `{"statusCode": ..., "error": ...}`.
        """
        method = _method(event)
        if method is None:
            status, answer = self._answer(lambda: event)
            return answer if status == 200 else {"statusCode": status} | answer
        assert isinstance(event, Mapping)
        headers = {"content-type": "application/json"}
        if method == "POST":
            status, answer = self._answer(lambda: self._body(event))
        else:
            status, answer = 405, {"error": f"the method is {method[:20]}, expected POST"}
            headers["allow"] = "POST"
        # subtle: JSON's escapes keep what UTF-8 can't express, such as half of a pair of surrogates, out of the body.
        return {"statusCode": status, "headers": headers, "body": json.dumps(answer), "isBase64Encoded": False}

    def _answer(self, read: Callable[[], Any]) -> tuple[int, dict[str, Any]]:
        try:
            return 200, self._judge(read())
        except _TooLargeError as error:
            return 413, {"error": str(error)}
        except InputError as error:
            return 400, {"error": _printable(error)}

    def _judge(self, asked: Any) -> dict[str, Any]:
        if not (isinstance(asked, Mapping) and _ROWS in asked):
            return self._model.judge_row(asked).to_dict()
        rows = asked[_ROWS]
        if not isinstance(rows, list) or len(asked) > 1:
            raise InputError(f"{_ROWS} stands alone and is a list of conversations")
        if len(rows) > self._max_rows:
            raise _TooLargeError(f"{len(rows)} rows, expected at most {self._max_rows}")
        judged = self._model.stream(rows, workers=self._workers, errors="return")
        return {
            "verdicts": [one.to_dict() if isinstance(one, Verdict) else {"error": _printable(one)} for one in judged]
        }

    def _body(self, event: Mapping[str, Any]) -> Any:
        body = event.get("body")
        if not isinstance(body, str) or not body:
            raise InputError("the request has no body, expected JSON")
        encoded = event.get("isBase64Encoded") is True
        # Base64 takes four characters for three bytes.
        self._check_size(len(body) // 4 * 3 - 2 if encoded else len(body))
        try:
            raw = base64.b64decode(body, validate=True) if encoded else body.encode()
            self._check_size(len(raw))
            return json.loads(raw.decode("utf-8-sig"))
        except binascii.Error as error:
            raise InputError(f"the body is said to be base64 and is not: {error}") from error
        except UnicodeError as error:
            raise InputError("the body is not UTF-8") from error
        except RecursionError as error:
            raise InputError("the body is not usable JSON: nested too deeply") from error
        except ValueError as error:
            raise InputError(f"the body is not JSON: {error}") from error

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise _TooLargeError(f"the body is too large, expected at most {self._max_bytes} bytes")


class _TooLargeError(Exception):
    """More than this function takes at a time."""


def _method(event: object) -> str | None:
    """Return the method of a request over HTTP, None for a direct invocation."""
    if not isinstance(event, Mapping):
        return None
    context = event.get("requestContext")
    if not isinstance(context, Mapping):
        return None
    http = context.get("http")  # payload version 2.0
    method = http.get("method") if isinstance(http, Mapping) else event.get("httpMethod")
    return method if isinstance(method, str) else None


def _printable(error: InputError) -> str:
    """An error's message without halves of surrogate pairs, which can't be written as UTF-8."""
    return str(error).encode("utf-8", "replace").decode()


def _cores() -> int:
    """Return how many threads this function can keep busy: Lambda grants processors by memory, fractions included."""
    granted, memory = _machine.cores(), os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    return max(1, min(granted, int(memory) // _CORE_MEGABYTES)) if memory else granted


def _made() -> Handler:
    cores, max_bytes, max_rows = _cores(), _limit("DEMUR_MAX_BYTES", _MAX_BYTES), _limit("DEMUR_MAX_ROWS", _MAX_ROWS)
    _machine.no_blas_threads()
    # What Lambda unpacks it has compared with its own sum of the zip.
    model = load(os.environ.get("DEMUR_MODEL"), threads=cores, threshold=_threshold(), verify=False)
    return Handler(model, max_bytes=max_bytes, max_rows=max_rows, workers=cores)


def _threshold() -> float | str | None:
    stated = os.environ.get("DEMUR_THRESHOLD")
    return None if stated is None else threshold_of(stated)


def _limit(variable: str, default: int) -> int:
    stated = os.environ.get(variable, str(default))
    if not stated.isdecimal() or int(stated) < 1:
        raise ValueError(f"{variable} is {stated!r}, expected a whole number of at least 1")
    return int(stated)


_lock = threading.Lock()
handler: Handler


def __getattr__(name: str) -> Any:
    """Load the model when the handler is first asked for, which Lambda does before the first event."""
    if name != "handler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _lock:
        if "handler" not in globals():
            globals()["handler"] = _made()
    return globals()["handler"]
