"""The headings of the FAQ are parts of the messages below them, which `test_pages.py` compares."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT

FAQ = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")


def check(text: str) -> int:
    """Return how many headings quote a message; each has to stand in the first example below."""
    messages = text.partition("\n## Questions without a message\n")[0]
    entries = re.split(r"^### ", messages, flags=re.MULTILINE)[1:]
    for entry in entries:
        heading, _, below = entry.partition("\n")
        quoted = re.fullmatch(r"(`+) ?(.+?) ?\1", heading)
        assert quoted, f"{heading} is no quotation"
        example = re.search(r"^```\w+\n(?:>>>|\$|operation|nothing).*?^```$", below, re.M | re.S)
        assert example, f"{heading} has no example"
        assert quoted[2] in example[0], f"no message below has {heading}"
    return len(entries)


def test_headings_quote_messages() -> None:
    assert check(FAQ) >= 40


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("### `exclude each other`", "### `exclude one another`"),
        ("### `exclude each other`", "### Exclusive arguments"),
        (">>> print(compact_report(chain))", "print(compact_report(chain))"),
    ],
)
def test_a_heading_that_quotes_nothing_fails(old: str, new: str) -> None:
    assert FAQ.count(old) == 1
    with pytest.raises(AssertionError):
        check(FAQ.replace(old, new))
