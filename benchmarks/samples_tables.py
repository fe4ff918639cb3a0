"""The table of skipped samples in docs/compact-samples.md: `python -m benchmarks.samples_tables`.

It stands between <!-- samples --> and <!-- /samples -->.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.pages import DOCS, Record, measured_on, newest, placed
from benchmarks.samples import AS_IS, NONE, OURS, RESULTS, ROWS, SUBSETS, Row

PAGE = DOCS / "compact-samples.md"


def records(results: Path = RESULTS) -> dict[str, Record]:
    """Return the newest record of each row, in their order, and "added".

    Raises:
        FileNotFoundError: where there are no rows yet; says how to make them.
        LookupError: where a row of the benchmark was never run.
    """
    if not results.exists():
        raise FileNotFoundError(f"{results} is missing: run python -m benchmarks.samples")
    found = newest(results)
    names = [*(row.name for row in ROWS), "added"]
    if missing := [name for name in names if name not in found]:
        raise LookupError(f"never run: {missing}; run python -m benchmarks.samples")
    return {name: found[name] for name in names}


def table(rows: list[Row], found: dict[str, Record]) -> str:
    """Return the rows as Markdown, with what compact adds and the machine below."""
    lines = [
        f"| training step | p | faster than {AS_IS} | bound | than {NONE} | than {SUBSETS} "
        f"| peak memory, of {AS_IS} |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_line(found[row.name]) for row in rows),
    ]
    added = found["added"]["us added a branch"]
    sentences = [
        "Forward, loss and backward, float32, medians over interleaved rounds.",
        f"`compact` adds {added['as usual']:.0f} µs to a branch that is too small to skip samples, "
        f"and {added['skips']:.0f} µs if it is made to.",
        measured_on([found[row.name] for row in rows], ("torch", "transformers")),
    ]
    return "\n".join([*lines, "", *sentences, ""])


def _line(record: Record) -> str:
    gains, held, limit = record["gains"], record["bytes"], record["bound"]
    cells = [
        record["model"] + (", compiled" if record["compiled"] else ""),
        record["rates"],
        f"**{gains[AS_IS]:.2f}x** ({gains[AS_IS] / limit:.0%} of the bound)",
        f"{limit:.2f}x",
        f"{gains[NONE]:.2f}x",
        f"{gains[SUBSETS]:.2f}x" if SUBSETS in gains else "",
        f"{held[OURS] / held[AS_IS]:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def filled(text: str, results: Path = RESULTS) -> str:
    """Return docs/compact-samples.md with the table in its place."""
    return placed(text, "samples", table(ROWS, records(results)))


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
