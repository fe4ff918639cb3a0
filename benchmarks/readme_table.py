"""The README's one table, from committed rows: `python -m benchmarks.readme_table`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks import compact, samples
from benchmarks.pages import README, Record, newest, placed

EPYC, XEON = "AMD EPYC", "Intel(R) Xeon(R) Processor"


@dataclass(frozen=True)
class Shown:
    """A row of the table, and where it comes from.

    Attributes:
        title: what the training step is of.
        results: the file of rows.
        row: the row's name there.
        processor: which of the machines that measured it.
        peer: the name of the time of the dropout as it is.
        none: the name of the time with no dropout.
    """

    title: str
    results: Path
    row: str
    processor: str
    peer: str
    none: str


def _maps(title: str, row: str, processor: str) -> Shown:
    return Shown(title, compact.RESULTS, row, processor, compact.PEER, compact.NONE)


def _samples(title: str, row: str) -> Shown:
    return Shown(title, samples.RESULTS, row, XEON, samples.AS_IS, samples.NONE)


_STACK = "64-128-128-128-128, 32x32, batch 32, p = 0.5, per sample"
SHOWN = (
    _maps(
        "3 convolutions, 128 maps of 32x32, p = 0.2",
        "64-128-128-128, 32x32, batch 32, p = 0.2, per sample",
        EPYC,
    ),
    _maps("4 convolutions, 128 maps of 32x32, p = 0.5", _STACK, EPYC),
    _maps("the same", _STACK, XEON),
    _maps(
        "the paper's key-point network, p = 0.5",
        "localizer, width 128, 96x96, batch 4, p = 0.5, per sample",
        EPYC,
    ),
    _samples("ViT, 6 blocks, drop path 0.3", "ViT, p = 0.3"),
    _samples("DINOv2 of transformers, drop path 0.4", "Dinov2, p = 0.4"),
)


def table(shown: tuple[Shown, ...] = SHOWN) -> str:
    """Return the table as Markdown. Raises LookupError where a row was never measured."""
    found = [_record(one) for one in shown]
    lines = [
        "| training step | times faster | bound | than with no dropout | processor, 2 threads |",
        "| --- | --- | --- | --- | --- |",
        *map(_line, shown, found),
    ]
    versions, days = ({str(r[name]) for r in found} for name in ("torch", "date"))
    sentence = (
        "Forward, loss and backward in float32, medians over interleaved rounds, against the same "
        "model with its dropout computed in full. The bound counts multiplications (convolutions) "
        "or branches (drop path). "
        f"torch {', '.join(sorted(versions))}, {min(days)} to {max(days)}."
    )
    return "\n".join([*lines, "", sentence, ""])


def _record(shown: Shown) -> Record:
    records = newest(shown.results, ("row", "processor"))
    key = f"{shown.row}, {shown.processor}"
    if key not in records:
        raise LookupError(f"never run: {key}; see {shown.results}")
    return records[key]


def _line(shown: Shown, record: Record) -> str:
    gains = record["gains"]
    none = f"{gains[shown.none]:.2f}x" if shown.none in gains else ""
    name = shown.processor.replace("(R)", "").removesuffix(" Processor")
    cells = [shown.title, f"**{gains[shown.peer]:.2f}x**", f"{record['bound']:.2f}x", none, name]
    return f"| {' | '.join(cells)} |"


def filled(text: str) -> str:
    """Return README.md with the table in its place."""
    return placed(text, "readme", table())


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
