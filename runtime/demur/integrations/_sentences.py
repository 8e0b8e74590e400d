"""A text to its sentences, cut where NLTK's English Punkt tokenizer mostly cuts, without its trained tables.

Punkt (Kiss and Strunk 2006, https://doi.org/10.1162/coli.2006.32.4.485) takes every full stop, question mark and
exclamation mark before white space or punctuation for an end, unless it belongs to an abbreviation, an initial or an
ellipsis. Which words are abbreviations it learned from newspapers, as it did how often a word is capitalised, which
decides whether a sentence ends behind one. Here a list of common abbreviations and the next word's first letter do.
"""

import re
from collections.abc import Iterator

# Quotes and brackets that close a sentence belong to it, behind a space as well (French writes « like this. »).
_CLOSING = "\"')\\]}\u2018\u2019\u201c\u201d\u00ab\u00bb"
# subtle: a run of marks is entered at its first one only, and possessively: else a long run takes quadratic time.
_END = re.compile(
    rf"(?<![.?!])(?P<marks>[.?!]++)(?:(?=[*:;@({{\[])|[{_CLOSING}]*+(?=\s)(?:\s++[{_CLOSING}]++(?=\s|\Z))?)"
)
_SEEN = re.compile(r"\S")
_WORD = re.compile(r"[^\s(\"\[{*@:;,\u201c\u00ab-]*\Z")
# How far back the word before a mark is looked for; no abbreviation is longer.
_LONGEST = 24

# What never ends a sentence: something always follows.
_LEADING = re.compile(r"mrs?|ms|dr|prof|rev|hon|st|sr|gen|col|capt|lt|sgt|gov|sen|messrs|mme|mlle|vs|fig|e\.g|i\.e|cf")
# What ends one if no small letter follows: ordinals of lists, and abbreviations.
_TRAILING = re.compile(
    r"\d+|etc|inc|ltd|co|corp|jr|approx|dept|al|[ap]\.m|u\.[skn]|u\.s\.a|d\.c|ph\.d|[mb]\.[ad]|a\.d|b\.c"
    r"|jan|feb|apr|jun|jul|aug|sept?|oct|nov|dec|ave|blvd|vol"
)


def split(text: str) -> Iterator[str]:
    """Yield the sentences of a text, without the white space around them; none is blank."""
    start = 0
    for end in _END.finditer(text):
        if _ends_sentence(text, end):
            if sentence := text[start : end.end()].strip():
                yield sentence
            start = end.end()
    if sentence := text[start:].strip():
        yield sentence


def _ends_sentence(text: str, end: re.Match[str]) -> bool:
    marks = end["marks"]
    if marks.strip("."):
        return True  # a question or exclamation mark
    following = _next(text, end.end())
    if len(marks) > 1:
        return not following.islower()
    found = _WORD.search(text, max(0, end.start() - _LONGEST), end.start())
    word = found[0].lstrip("'\u2018").lower() if found else ""
    if _LEADING.fullmatch(word) or (len(word) == 1 and word.isalpha()):
        return False
    return not (_TRAILING.fullmatch(word) and following.islower())


def _next(text: str, place: int) -> str:
    """Return the first character at or behind `place` that is no white space, or nothing."""
    found = _SEEN.search(text, place)
    return found[0] if found else ""
