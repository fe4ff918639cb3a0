"""The README's table of compacted training steps: `python -m benchmarks.compact_tables`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.compact import NONE, OURS, PEER, RESULTS, ROWS
from benchmarks.models import MODELS
from benchmarks.pages import README, newest, placed

# Two ways to build the network of one paper are one published network; our chains are none.
_PAPERS = {
    m.name: m.source.partition(":")[0] for m in MODELS if "no published network" not in m.source
}


def table(results: Path = RESULTS) -> str:
    """Markdown.

    Raises:
        FileNotFoundError: where there are no rows yet; says how to make them.
        LookupError: where a row of the benchmark was never run.
    """
    if not results.exists():
        raise FileNotFoundError(f"{results} is missing: run python -m benchmarks.compact")
    records = newest(results, ("row", "processor"))
    processors = sorted({record["processor"] for record in records.values()})
    used = [
        records[key]
        for row in ROWS
        for processor in processors
        if (key := f"{row.name}, {processor}") in records
    ]
    if missing := {row.name for row in ROWS} - {record["row"] for record in used}:
        raise LookupError(f"never run: {sorted(missing)}; run python -m benchmarks.compact")
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


def filled(readme: str, results: Path = RESULTS) -> str:
    """The README's text with the table in its place."""
    return placed(readme, "compact", table(results))


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
