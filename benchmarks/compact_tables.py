"""The tables of compacted steps in docs/compact-maps.md: `python -m benchmarks.compact_tables`.

The main rows stand between <!-- compact --> and <!-- /compact -->, the stacks at several rates
between <!-- rates --> and <!-- /rates -->.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.compact import AGAIN, NONE, OURS, PEER, RESULTS, ROWS
from benchmarks.models import MODELS
from benchmarks.pages import DOCS, measured_on, newest, placed

# Two ways to build the network of one paper are one published network; our chains are none.
_PAPERS = {
    m.name: m.source.partition(":")[0] for m in MODELS if "no published network" not in m.source
}


PAGE = DOCS / "compact-maps.md"


def _records(results: Path) -> dict[str, dict[str, Any]]:
    """Return the newest record of each row on each processor.

    Raises:
        FileNotFoundError: where there are no rows yet; says how to make them.
        LookupError: where a row of the benchmark was never run.
    """
    if not results.exists():
        raise FileNotFoundError(f"{results} is missing: run python -m benchmarks.compact")
    records = newest(results, ("row", "processor"))
    if missing := {row.name for row in ROWS} - {record["row"] for record in records.values()}:
        raise LookupError(f"never run: {sorted(missing)}; run python -m benchmarks.compact")
    return records


def table(results: Path = RESULTS) -> str:
    """Return the main rows as Markdown. Raises what `_records` raises."""
    records = _records(results)
    processors = sorted({record["processor"] for record in records.values()})
    used = [
        records[key]
        for row in ROWS
        if row.group != "rates"
        for processor in processors
        if (key := f"{row.name}, {processor}") in records
    ]
    heads = [f"{name}: over `{PEER}` (of the bound), over {NONE}" for name in processors]
    lines = [
        f"| network | p | mask | arithmetic bound | {' | '.join(heads)} |",
        f"| --- | --- | --- | --- |{' --- |' * len(heads)}",
    ]
    for row in (row for row in ROWS if row.group == "main"):
        mine = {r["processor"]: r for r in used if r["row"] == row.name}
        limit = next(iter(mine.values()))["bound"]
        cells = [row.network, f"{row.p}", row.mask, f"{limit:.2f}x"]
        cells += [_gains(mine[name]) if name in mine else "" for name in processors]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_sentences(used), ""])


def _gains(record: dict[str, Any]) -> str:
    gains = record["gains"]
    over = f"{gains[PEER]:.2f}x ({gains[PEER] / record['bound']:.0%})"
    return f"{over}, {gains[NONE]:.2f}x" if NONE in gains else over


def _sentences(records: list[dict[str, Any]]) -> list[str]:
    few = [r for r in records if r["group"] == "small p"]
    built = [r for r in records if r["group"] == "network"]
    papers = {_PAPERS[r["network"]] for r in built if r["network"] in _PAPERS}
    least = min(float(r["gains"][PEER]) for r in (*few, *built))
    sentences = [
        "Training steps (forward and backward), float32, medians over interleaved rounds. "
        f"Never below {least:.2f}x at p = 0.1 and on {len(papers)} published networks.",
    ]
    # Where nothing is skipped, the same code ran twice: any difference is noise.
    idle = [float(r["gains"][PEER]) for r in (*few, *built) if r["predicted_saving"] == 0]
    if idle:
        sentences[0] += (
            f" {len(idle)} of these rows skip nothing, so both sides run the same code; "
            f"their spread, {min(idle):.2f}x to {max(idle):.2f}x, is measurement noise."
        )
    for record in (r for r in records if r["group"] == "memory"):
        ours, peer = (record["bytes"][name] for name in (OURS, PEER))
        sentences.append(
            f"Peak memory of the first row's step: {ours / peer:.2f} of `{PEER}`'s "
            f"({ours / 2**20:.0f} instead of {peer / 2**20:.0f} MiB; {record['processor']})."
        )
    machines = {
        f"{r['processor']}, {r['threads']} threads, torch {r['torch']}, {r['date']}"
        for r in records
    }
    return [*sentences, f"{'; '.join(sorted(machines))}."]


def rates(results: Path = RESULTS) -> str:
    """Return the stacks at several rates as Markdown: a line for each and each processor."""
    records = _records(results)
    names = [row.name for row in ROWS if row.group == "rates"]
    used = [record for record in records.values() if record["row"] in names]
    used.sort(key=lambda record: (names.index(record["row"]), record["processor"]))
    lines = [
        f"| network | p | faster than `{PEER}` | of the bound | predicted to be skipped "
        "| the same twice |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for record in used:
        gain, limit = record["gains"][PEER], record["bound"]
        cells = [
            record["network"],
            f"{record['p']}",
            f"**{gain:.2f}x**",
            f"{gain / limit:.0%} of {limit:.2f}x",
            f"{record['predicted_saving']:.0%} of the time",
            f"{gain / record['gains'][AGAIN]:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    sentences = [
        "The bound counts multiplications alone. A row passes it where mapdrop's convolutions are "
        "faster than PyTorch's, and do the dropout and the ReLU before it in the same pass.",
        f"The last column is `{PEER}`'s time through that of its copy: it shows the noise.",
    ]
    return "\n".join([*lines, "", *sentences, measured_on(used), ""])


def filled(text: str, results: Path = RESULTS) -> str:
    """Return docs/compact-maps.md with the tables in their places."""
    for mark, made in (("compact", table), ("rates", rates)):
        text = placed(text, mark, made(results))
    return text


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
