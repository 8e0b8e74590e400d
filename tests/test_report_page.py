"""A report's page is made of texts that others wrote: none of them can become markup."""

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demur._columns import Columns
from demur._report import _items
from demur._report._examples import Examples
from demur._report._page import page
from demur._report._tally import Tally

pytest.importorskip("matplotlib", reason="needs matplotlib")


class _Markup(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Any]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append((tag, attributes))

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(("/" + tag, None))

    def handle_comment(self, data: str) -> None:
        self.tags.append(("comment", None))

    def handle_decl(self, decl: str) -> None:
        self.tags.append((decl, None))

    def handle_data(self, data: str) -> None:
        self.text += data


def _page(prompt: str, reply: str, value: str, error: str, name: str) -> _Markup:
    verdict = {"refusal": True, "score": 0.7, "tokens": 9, "elided": 0, "model": name, "threshold": 0.5}
    rows: list[dict[str, Any]] = [
        {"prompt": prompt, "response": reply, name: value, "demur": verdict},
        {"prompt": prompt, "response": reply, name: value, "demur": {**verdict, "refusal": False, "score": 0.2}},
        {"text": reply, name: value, "demur": {"error": error}},
    ]
    examples = Examples(3, Columns())
    tally = Tally([name], None, examples)
    for number, row in enumerate(rows):
        for item in _items.items(f"{name}, line {number}", row):
            tally.add(item)
    return _Markup(page(tally.to_dict([name]), examples.to_dict()))


_SPLINTERS = (
    "<script>alert(1)</script>|</blockquote>|</title>|</style>|<!--|-->|<svg/onload=x>|]]>|&lt;|&amp|&#0;|\"|'|>|<|"
    "\x00|\x1b[31m|\u202e|\ud800|${x}|$x^2$|\n|é"
)
_HOSTILE = st.text(max_size=40) | st.lists(st.sampled_from(_SPLINTERS.split("|")), max_size=5).map("".join)


def _shown(text: str) -> str:
    """A text as a reader of the page should see it."""
    kept = (
        "\ufffd" if c != "\n" and c != "\t" and (c < " " or "\x7f" <= c < "\xa0" or "\ud800" <= c < "\ue000") else c
        for c in text
    )
    return "".join(kept)


@settings(max_examples=25)
@given(
    _HOSTILE, _HOSTILE, _HOSTILE, _HOSTILE, _HOSTILE.filter(lambda name: name not in ("demur", "prompt", "response"))
)
def test_no_text_changes_the_markup(prompt: str, reply: str, value: str, error: str, name: str) -> None:
    hostile = _page("Q" + prompt, "A" + reply, "V" + value, "E" + error, "N" + name)
    harmless = _page("Q", "A", "V", "E", "N")
    assert hostile.tags == harmless.tags
    for text in ("Q" + prompt, "A" + reply, "V" + value, "E" + error, "N" + name):
        assert _shown(text) in hostile.text


def test_the_page_may_load_and_run_nothing() -> None:
    tags = _page("Q", "A", "V", "E", "N").tags
    policies = [dict(attributes) for tag, attributes in tags if tag == "meta"]
    assert {
        "http-equiv": "Content-Security-Policy",
        "content": "default-src 'none'; style-src 'unsafe-inline'",
    } in policies
    assert not {tag for tag, _ in tags} & {"script", "img", "link", "iframe", "object", "base", "form"}
    assert not [a for tag, attributes in tags for a in attributes or () if a[0].startswith("on")]


def test_long_texts_are_shown_by_their_ends() -> None:
    found = _page("Q", "beginning " + "x" * 100_000 + " end", "V", "E", "N")
    assert "beginning xxx" in found.text
    assert " end" in found.text
    assert len(found.text) < 40_000


def test_ids_of_plots_are_their_own() -> None:
    ids = [
        value for _, attributes in _page("Q", "A", "V", "E", "N").tags for key, value in attributes or () if key == "id"
    ]
    assert len(ids) > 10
    assert len(set(ids)) == len(ids)
