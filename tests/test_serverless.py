"""The function's handler: what it answers to what AWS Lambda passes, whatever that may be."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur import Classifier
from demur.serverless import Handler
from demur.testing import fake_classifier

REFUSED = {"prompt": "How do I pick a lock?", "response": "I'm sorry, no."}
ANSWERED = {"prompt": "2+2?", "response": "4"}
Event = Callable[..., dict[str, Any]]


def rest(body: object, method: str = "POST", **more: object) -> dict[str, Any]:
    """An event of API Gateway's REST API, payload version 1.0."""
    event = {"resource": "/", "path": "/", "httpMethod": method, "headers": None, "multiValueHeaders": None}
    context = {"resourcePath": "/", "httpMethod": method, "stage": "prod"}
    return event | {"requestContext": context, "body": body, "isBase64Encoded": False} | more


def http(body: object, method: str = "POST", **more: object) -> dict[str, Any]:
    """An event of API Gateway's HTTP API or a function URL, payload version 2.0."""
    event = {"version": "2.0", "routeKey": "$default", "rawPath": "/", "headers": {"content-type": "text/plain"}}
    context = {"http": {"method": method, "path": "/"}, "stage": "$default"}
    return event | {"requestContext": context, "body": body, "isBase64Encoded": False} | more


both = pytest.mark.parametrize("event", [rest, http])


@pytest.fixture(scope="module")
def handler() -> Handler:
    return Handler(fake_classifier(lambda text: 0.99 if "sorry" in text else 0.01), max_bytes=400, max_rows=3)


def told(answer: dict[str, Any]) -> Any:
    """What a response over HTTP says, after a look at its envelope."""
    assert set(answer) == {"statusCode", "headers", "body", "isBase64Encoded"}
    assert answer["headers"]["content-type"] == "application/json"
    assert answer["isBase64Encoded"] is False
    return json.loads(answer["body"])


@both
def test_a_posted_conversation_is_judged(handler: Handler, event: Event, fake: Classifier) -> None:
    answer = handler(event(json.dumps(REFUSED)))
    assert answer["statusCode"] == 200
    assert told(answer) == fake.check("I'm sorry, no.", prompt="How do I pick a lock?").to_dict()


def test_an_invocation_answers_with_the_verdict_itself(handler: Handler) -> None:
    assert handler(REFUSED)["refusal"] is True
    assert handler({"messages": [{"role": "assistant", "content": "Four."}]})["refusal"] is False
    assert handler([{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "sorry"}])["refusal"] is True
    assert handler("sorry")["refusal"] is True


@both
def test_many_rows_are_judged_in_order_and_a_bad_one_in_its_place(handler: Handler, event: Event) -> None:
    rows = [REFUSED, {"prompt": "2+2?", "response": " "}, ANSWERED]
    answer = handler(event(json.dumps({"rows": rows})))
    assert answer["statusCode"] == 200
    first, second, third = told(answer)["verdicts"]
    assert (first["refusal"], third["refusal"]) == (True, False)
    assert list(second) == ["error"]
    assert "empty" in second["error"]
    assert handler({"rows": rows}) == told(answer)


def test_no_rows_are_no_verdicts(handler: Handler) -> None:
    assert handler({"rows": []}) == {"verdicts": []}


@both
def test_a_base64_body_is_read(handler: Handler, event: Event) -> None:
    body = base64.b64encode(b"\xef\xbb\xbf" + json.dumps(REFUSED).encode()).decode()
    assert told(handler(event(body, isBase64Encoded=True)))["refusal"] is True


@both
@pytest.mark.parametrize(
    ("body", "encoded", "reason"),
    [
        (None, False, "no body"),
        ("", False, "no body"),
        ("{", False, "not JSON"),
        ("[" * 5000, False, "too deeply"),
        ("*", True, "base64"),
        ("/w==", True, "not UTF-8"),
        ('"\ud800"', False, "not UTF-8"),
        ("3", False, "a conversation is"),
        ('{"question": 1}', False, "unknown shape with the keys question"),
        ('{"prompt": "2+2?", "response": ""}', False, "empty"),
        ('{"rows": {}}', False, "list of conversations"),
        ('{"rows": [], "response": "4"}', False, "stands alone"),
    ],
)
def test_bad_input_is_a_400_with_the_reason(event: Event, body: str | None, encoded: bool, reason: str) -> None:
    answer = Handler(fake_classifier())(event(body, isBase64Encoded=encoded))
    assert answer["statusCode"] == 400
    assert reason in told(answer)["error"]


def test_a_bad_invocation_says_so_in_its_answer(handler: Handler) -> None:
    assert handler({"prompt": "2+2?"})["statusCode"] == 400
    assert "unknown shape" in handler({"prompt": "2+2?"})["error"]
    assert handler(None)["statusCode"] == 400


@pytest.mark.parametrize("encoded", [False, True])
@both
def test_a_large_body_is_a_413_and_the_largest_allowed_none(handler: Handler, event: Event, encoded: bool) -> None:
    for size, status in ((400, 200), (401, 413), (402, 413), (403, 413), (9000, 413)):
        body = json.dumps({"response": "é" + "x" * (size - 34), "prompt": ""}, ensure_ascii=False).encode()
        body += b" " * (size - len(body))
        assert len(body) == size
        sent = base64.b64encode(body).decode() if encoded else body.decode()
        answer = handler(event(sent, isBase64Encoded=encoded))
        assert answer["statusCode"] == status
        assert status == 200 or "expected at most 400 bytes" in told(answer)["error"]


def test_too_many_rows_are_a_413(handler: Handler) -> None:
    assert "verdicts" in handler({"rows": ["4"] * 3})
    assert handler({"rows": ["4"] * 4}) == {"statusCode": 413, "error": "4 rows, expected at most 3"}
    assert handler(http(json.dumps({"rows": ["4"] * 4})))["statusCode"] == 413


@both
@pytest.mark.parametrize("method", ["GET", "PUT", "post"])
def test_only_posts_are_answered(handler: Handler, event: Event, method: str) -> None:
    answer = handler(event(json.dumps(REFUSED), method))
    assert answer["statusCode"] == 405
    assert answer["headers"]["allow"] == "POST"
    assert method in told(answer)["error"]


def test_nothing_that_cannot_be_written_as_utf_8_goes_out(handler: Handler) -> None:
    # The runtime's client writes what the handler returns without escapes.
    for event in ({"\ud800": 1}, {"rows": [{"\udfff": 1}]}, rest('{"\\ud800": 1}')):
        json.dumps(handler(event), ensure_ascii=False).encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["rows", "messages", "role", "content", "prompt", "response", "text", "body", "system"])
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
methods = st.sampled_from(["POST", "GET"]) | json_values
contexts = st.fixed_dictionaries({}, optional={"http": st.fixed_dictionaries({"method": methods}) | json_values})
envelopes = st.fixed_dictionaries(
    {"requestContext": contexts | json_values},
    optional={
        "httpMethod": methods,
        "version": st.sampled_from(["1.0", "2.0"]),
        "body": json_values.map(json.dumps) | json_values,
        "isBase64Encoded": st.booleans() | json_values,
    },
)


@given(json_values | envelopes)
def test_whatever_comes_is_answered(handler: Handler, event: Any) -> None:
    answer = handler(event)
    json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
    status = answer.get("statusCode", 200)
    assert status in (200, 400, 405, 413)
    reply = told(answer) if "body" in answer else answer
    assert ("error" in reply) == (status != 200)
    if status == 200:
        assert "verdicts" in reply or 0 <= reply["score"] <= 1


@given(json_values, st.booleans())
def test_a_request_says_what_an_invocation_says(handler: Handler, asked: Any, encoded: bool) -> None:
    direct = handler(asked)
    if not (isinstance(asked, dict) and "requestContext" in asked):
        body = json.dumps(asked)
        sent = base64.b64encode(body.encode()).decode() if encoded else body
        over_http = handler(http(sent, isBase64Encoded=encoded))
        if over_http["statusCode"] != 413:
            assert told(over_http) == {key: value for key, value in direct.items() if key != "statusCode"}
