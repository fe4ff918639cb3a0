"""The README's table of compacted training steps: `python -m benchmarks.compact_tables`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks.compact import NONE, OURS, PEER, RESULTS, ROWS
from benchmarks.models import MODELS
from benchmarks.tables import README, newest

_BETWEEN = re.compile(r"(?<=<!-- compact -->\n).*?(?=<!-- /compact -->)", re.DOTALL)

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
    records = newest(results)
    if missing := [row.name for row in ROWS if row.name not in records]:
        raise LookupError(f"never run: {missing}; run python -m benchmarks.compact")
    used = [records[row.name] for row in ROWS]
    lines = [
        f"| network | p | mask | speed-up over `{PEER}` | of the arithmetic bound | over {NONE} |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for record in (r for r in used if r["group"] == "main"):
        gains = [_gain(record, peer) for peer in (PEER, NONE)]
        share = f"{record['gains'][PEER] / record['bound']:.0%} of {record['bound']:.2f}x"
        cells = [record["network"], f"{record['p']}", record["mask"], gains[0], share, gains[1]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_sentences(used), ""])


def _gain(record: dict[str, Any], peer: str) -> str:
    return f"{record['gains'][peer]:.2f}x" if peer in record["gains"] else ""


def _sentences(records: list[dict[str, Any]]) -> list[str]:
    few = [r for r in records if r["group"] == "small p"]
    built = [r for r in records if r["group"] == "network"]
    papers = {_PAPERS[r["network"]] for r in built if r["network"] in _PAPERS}
    least = min(float(r["gains"][PEER]) for r in (*few, *built))
    sentences = [
        "Training steps (forward and backward), float32, medians over interleaved rounds. "
        f"Never below {least:.2f}x at p = 0.1 and on {len(papers)} published networks.",
    ]
    # Where nothing is skipped, the same code ran twice: what it differs by is the machine's.
    idle = [float(r["gains"][PEER]) for r in (*few, *built) if r["predicted_saving"] == 0]
    if idle:
        sentences[0] += (
            f" {len(idle)} of these rows skip nothing, which is the same code twice: "
            f"{min(idle):.2f}x to {max(idle):.2f}x is this machine's noise."
        )
    for record in (r for r in records if r["group"] == "memory"):
        ours, peer = (record["bytes"][name] for name in (OURS, PEER))
        sentences.append(
            f"Peak memory of the first row's step: {ours / peer:.2f} of `{PEER}`'s "
            f"({ours / 2**20:.0f} instead of {peer / 2**20:.0f} MiB)."
        )
    machines = {
        f"{r['processor']}, {r['threads']} threads, torch {r['torch']}, {r['date']}"
        for r in records
    }
    return [*sentences, f"{'; '.join(sorted(machines))}."]


def filled(readme: str, results: Path = RESULTS) -> str:
    """The README's text with the table in its place."""
    return _BETWEEN.sub(lambda _: table(results), readme)


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
