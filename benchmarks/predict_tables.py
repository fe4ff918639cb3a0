"""The table of Monte-Carlo predictions: `python -m benchmarks.predict_tables`.

docs/predict.md has it between <!-- predict --> and <!-- /predict -->.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.pages import DOCS, Record, measured_on, newest, placed
from benchmarks.predict import LOOP, OURS, REPEATED, RESULTS, ROWS

PAGE = DOCS / "predict.md"


def table(results: Path = RESULTS) -> str:
    """Return the newest record of each row as Markdown, with the machine below.

    Raises:
        FileNotFoundError: where there are no rows yet; says how to make them.
        LookupError: where a row of the benchmark was never run.
    """
    if not results.exists():
        raise FileNotFoundError(f"{results} is missing: run python -m benchmarks.predict")
    found = newest(results)
    if missing := [row.name for row in ROWS if row.name not in found]:
        raise LookupError(f"never run: {missing}; run python -m benchmarks.predict")
    records = [found[row.name] for row in ROWS]
    lines = [
        f"| prediction | passes | faster than {LOOP} | bound | than {REPEATED} | peak MiB |",
        "| --- | --- | --- | --- | --- | --- |",
        *map(_line, records),
    ]
    sentences = [
        f"{LOOP.capitalize()} calls the whole network; {REPEATED} goes through it at once. "
        "Mean and spread, float32, medians over interleaved rounds. The bound is that of "
        "multiplications. Memory is that of the prediction, the loop and the repeated batch.",
        measured_on(records, ("torch", "monai")),
    ]
    return "\n".join([*lines, "", *sentences, ""])


def _line(record: Record) -> str:
    gains, held = record["gains"], record["bytes"]
    side, batch = record["shape"][-1], record["shape"][0]
    memory = " / ".join(f"{held[name] / 2**20:.0f}" for name in (OURS, LOOP, REPEATED))
    cells = [
        f"{record['row']}, {side}x{side}" + (f", batch {batch}" if batch > 1 else ""),
        f"{record['samples']}",
        f"**{gains[LOOP]:.1f}x**",
        f"{record['bound']:.1f}x",
        f"{gains[REPEATED]:.1f}x",
        memory,
    ]
    return f"| {' | '.join(cells)} |"


def filled(text: str, results: Path = RESULTS) -> str:
    """Return the page with the table between its marks."""
    return placed(text, "predict", table(results))


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
