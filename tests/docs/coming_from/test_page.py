"""The page's blocks are found, and none of them goes unchecked. Each guard has a twin."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.docs.coming_from import page
from tests.docs.coming_from.cases import CASES, DROPOUT, EQUINOX, TORCH7


def covered(text: str) -> None:
    """Every block of the page has a case, and every case its block, in the same order."""
    found = {heading: len(blocks) for heading, blocks in page.entries(text).items()}
    assert list(found.items()) == [(heading, len(cases)) for heading, cases in CASES.items()]


def test_every_block_has_its_case() -> None:
    covered(page.TEXT)


def without(pattern: str) -> Callable[[str], str]:
    return lambda text: re.sub(pattern, "", text, count=1, flags=re.DOTALL | re.MULTILINE)


def without_entry(heading: str) -> Callable[[str], str]:
    return without(rf"^### {re.escape(heading)}\n.*?(?=^##)")


BROKEN: dict[str, tuple[Callable[[str], str], str]] = {
    "empty": (lambda text: "", "no entries"),
    "headings of another level": (lambda text: text.replace("###", "####"), "no entries"),
    "an entry less": (without_entry(DROPOUT), "=="),
    "the last section less": (lambda text: text[: text.index(f"### {EQUINOX}")], "=="),
    "an entry renamed": (lambda text: text.replace("### `DropPath`", "### `Droppath`"), "=="),
    "an entry twice": (lambda text: f"{text}\n### {TORCH7}{text.split(TORCH7)[1]}", "twice"),
    "a block less": (without(r"^```python\nimport keras\n.*?^```$"), "=="),
    "an entry without code": (
        without(r"(?<=nn.Dropout`\n\n)```python\n.*?^```$"), "has no code",
    ),
    "code of no language": (lambda text: text.replace("```python", "```"), "has no code"),
    "no old": (lambda text: text.replace("old = nnx", "former = nnx"), "no 'old'"),
    "no new": (without(r"^new = mapdrop.equinox.Dropout\(p\)\n"), "no 'new'"),
    "nothing the same": (lambda text: text.replace("**Same:**", ""), "what is the same"),
    "nothing differs": (lambda text: text.replace("**Differs:**", ""), "what differs"),
}  # fmt: skip


@pytest.mark.parametrize(("broken", "said"), BROKEN.values(), ids=BROKEN)
def test_a_page_that_lacks_something_twin(broken: Callable[[str], str], said: str) -> None:
    text = broken(page.TEXT)
    assert text != page.TEXT
    with pytest.raises((ValueError, AssertionError), match=re.escape(said)):
        covered(text)


def test_a_block_is_run_as_it_stands() -> None:
    made = page.run("old = p\n\n\ndef new(x):\n    return x * p\n", 0.5)
    assert (made.old, made.new(4)) == (0.5, 2)
    with pytest.raises(NameError):
        page.run("old = new = nobody", 0.5)


def test_a_table_that_is_not_there_twin() -> None:
    with pytest.raises(ValueError, match="no table under 'Nobody'"):
        page.table("Nobody")


def test_links_lead_to_headings() -> None:
    """As a browser finds them: lower case, hyphens for spaces."""
    links = set(re.findall(r"\]\(#(.*?)\)", page.TEXT))
    headings = re.findall(r"^## (.*)$", page.TEXT, re.MULTILINE)
    assert links
    assert links <= {heading.lower().replace(" ", "-") for heading in headings}
    assert "](http" not in page.TEXT
