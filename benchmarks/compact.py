"""Whole training steps of compacted models: `python -m benchmarks.compact [WORD]`.

A step is zero_grad(set_to_none=True), forward, and backward with a gradient that is there already;
there is no optimizer. The rows go to results/compact-cpu.jsonl.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.models import MODELS, Model
from mapdrop.localize.network import CoarseNet
from mapdrop.system.timing import interleaved, ratio
from mapdrop.tools.bench.arithmetic import beside_drops, bound
from mapdrop.tools.bench.chains import chain
from mapdrop.tools.bench.environment import environment
from mapdrop.tools.memory import peak
from mapdrop.torch import SpatialDropout2d, compact

RESULTS = Path(__file__).parent / "results" / "compact-cpu.jsonl"
OURS, PEER, NONE = "compact", "nn.Dropout2d", "no dropout"
AGAIN = "nn.Dropout2d, again"  # The peer a second time: how far two equal things are apart.
Drop = Callable[[float], nn.Module]
Work = Callable[[], object]

MASKS: dict[str, Drop] = {
    "share=8": partial(SpatialDropout2d, share=8),
    "share=8, balance=True": partial(SpatialDropout2d, share=8, balance=True),
    "per sample": nn.Dropout2d,
}


@dataclass(frozen=True)
class Network:
    """A network whose drop layers can be chosen.

    `beside` names the layers that read what drop layers left, and those whose maps they drop.
    """

    name: str
    build: Callable[[float, Drop], nn.Module]
    shape: tuple[int, ...]
    beside: Callable[[nn.Module], tuple[list[str], list[str]]]


@dataclass(frozen=True)
class Made:
    """What a row is about to measure: its models, and what they are called with."""

    models: dict[str, nn.Module]
    x: Tensor
    bound: float | None

    def works(self) -> dict[str, Work]:
        """A training step of each."""
        dense = self.models[PEER]
        with torch.no_grad():
            gradient = torch.randn_like(dense(self.x))
        return {name: partial(_step, m, self.x, gradient) for name, m in self.models.items()}


@dataclass(frozen=True)
class Row:
    """One comparison. `reach` is the peer's time / ours at least, or our peak / the peer's at most.

    `network`, `p` and `mask` are for tables; `group` is "main", "small p", "rates", "network" or
    "memory".
    """

    name: str
    network: str
    p: float
    mask: str
    group: str
    make: Callable[[], Made]
    reach: float
    none_reach: float | None = None
    rounds: int = 16


def main() -> None:
    word = " ".join(sys.argv[1:])
    console = Console()
    table = Table("step", "ours", "peer", "speed-up", "reach", "bound", "of the bound")
    rows = [row for row in ROWS if word in row.name or word == row.group]
    if not rows:
        sys.exit(f"no row has {word!r} in its name, and it is no group")
    for number, row in enumerate(rows, 1):
        console.print(f"[dim]{number}/{len(rows)} {row.name}[/dim]")
        record = measured(row)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(record) + "\n")
        for cells in _lines(row, record):
            table.add_row(*cells)
    console.print(table)


def measured(row: Row) -> dict[str, Any]:
    """The row's record: milliseconds, or bytes for memory."""
    made = row.make()
    works = made.works()
    record: dict[str, Any] = {
        "row": row.name,
        "network": row.network,
        "p": row.p,
        "mask": row.mask,
        "group": row.group,
        "peer": PEER,
        "reach": row.reach,
        "none_reach": row.none_reach,
        "bound": made.bound,
    }
    if row.group == "memory":
        record["bytes"] = {name: _peak(made.models[name], work) for name, work in works.items()}
    else:
        record["rounds"] = row.rounds
        times = interleaved(works, row.rounds)
        record["milliseconds"] = {name: t.milliseconds for name, t in times.items()}
        record["gains"] = {n: ratio(times[OURS], t) for n, t in times.items() if n != OURS}
    # A model that could not be planned runs as it is: the record says so, and why.
    report = cast(Any, made.models[OURS]).report()
    record |= {"predicted_saving": report.saving, "not_planned": report.reason or None}
    return record | environment({"torch": torch.__version__})


def _peak(model: nn.Module, work: Work) -> int:
    for _ in range(2):  # What a first call makes and keeps is not the step's.
        work()
    model.zero_grad(set_to_none=True)
    return peak(work)


def _step(model: nn.Module, x: Tensor, gradient: Tensor) -> None:
    model.zero_grad(set_to_none=True)
    model(x).backward(gradient)


def _lines(row: Row, record: dict[str, Any]) -> list[tuple[str, ...]]:
    """The cells of a row, one line for each model that ours is compared with."""
    why = f"\n[yellow]dense: {record['not_planned']}[/]" if record["not_planned"] else ""
    if row.group == "memory":
        ours, peer = (record["bytes"][name] for name in (OURS, PEER))
        share = _colour(f"{ours / peer:.2f} of it", ours / peer <= row.reach)
        mib = (f"{ours / 2**20:.1f} MiB", f"{peer / 2**20:.1f} MiB")
        return [(row.name + why, *mib, share, f"at most {row.reach}", "", "")]
    medians = {name: spread["median"] for name, spread in record["milliseconds"].items()}
    lines: list[tuple[str, ...]] = []
    for peer, reach in ((PEER, row.reach), (NONE, row.none_reach)):
        if peer not in medians:
            continue
        gain = record["gains"][peer]
        limit = record["bound"]
        lines.append(
            (
                row.name + why if peer == PEER else "",
                f"{medians[OURS]:.1f} ms",
                f"{peer} {medians[peer]:.1f} ms",
                f"{gain:.2f}x" if reach is None else _colour(f"{gain:.2f}x", gain >= reach),
                "" if reach is None else f"{reach}x",
                "" if limit is None else f"{limit:.2f}x",
                "" if limit is None else f"{gain / limit:.0%}",
            )
        )
    return lines


def _colour(text: str, reached: bool) -> str:
    return f"[{'green' if reached else 'red'}]{text}[/]"


def _made(network: Network, p: float, mask: str, group: str) -> Made:
    x = torch.randn(network.shape, generator=torch.Generator().manual_seed(1))
    drops = {OURS: MASKS[mask], PEER: nn.Dropout2d}
    if group == "main" and network is not _COARSE:
        drops[NONE] = lambda _: nn.Identity()
    if group == "rates":
        drops[AGAIN] = nn.Dropout2d
    models = {name: _drawn(partial(network.build, p, drop)) for name, drop in drops.items()}
    reads, makes = network.beside(models[PEER])
    limit = bound(models[PEER], x, p, reads, makes)
    models[OURS] = compact(models[OURS])
    return Made(models, x, limit)


def _published(model: Model) -> Made:
    (x,) = model.inputs()
    return Made({OURS: compact(model.make()), PEER: model.make()}, x, None)


def _drawn(build: Callable[[], nn.Module]) -> nn.Module:
    """With the same weights each time, whatever was seeded."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return build().train()


def _chain(widths: tuple[int, ...], side: int, batch: int = 32) -> Network:
    name = "-".join(map(str, widths))
    return Network(
        f"{name}, {side}x{side}, batch {batch}",
        lambda p, drop: chain(widths, p, drop),
        (batch, widths[0], side, side),
        lambda net: beside_drops(cast(nn.Sequential, net), nn.Dropout2d),
    )


def _beside_coarse(net: nn.Module) -> tuple[list[str], list[str]]:
    """The last convolution of each bank makes what is added, dropped and read by the head."""
    banks = range(len(cast(CoarseNet, net).banks))
    return ["head.0"], [f"banks.{bank}.top.3" for bank in banks]


_LONG = _chain((64, 128, 128, 128, 128), 32)
_WIDE = _chain((64, 256, 256, 256, 256), 16)
_ONE = _chain((512, 512), 14)
_TWO = _chain((512, 512, 512), 14)
_COARSE = Network(
    "localizer, width 128, 96x96, batch 4",
    lambda p, drop: CoarseNet(14, width=128, drop=lambda: drop(p)),
    (4, 3, 96, 96),
    _beside_coarse,
)
_REACH: list[tuple[Network, str, float, float | None]] = [
    (_LONG, "share=8", 2.5, 1.9),
    (_LONG, "share=8, balance=True", 2.5, 1.9),
    (_LONG, "per sample", 1.9, None),
    (_WIDE, "share=8", 2.4, None),
    (_WIDE, "per sample", 1.7, None),
    (_ONE, "per sample", 1.2, None),
    (_TWO, "per sample", 1.2, None),
    (_COARSE, "per sample", 1.4, None),
]
_STACKS = [
    (_chain((48, 96, 96, 96), 24, 16), 1.07, 1.9),
    (_chain((64, 128, 128, 128), 32), 1.07, 1.9),
    (_chain((32, 64, 64, 64), 56), 1.07, 1.9),
    (_chain((256, 256, 256), 28, 16), 1.05, 1.5),
    (_chain((512, 512, 512), 14, 16), 1.05, 1.5),
    (_chain((64, 64, 64, 64), 112, 8), 1.05, 1.85),
]
"""At rates that people use: what is to be reached at p = 0.3 and at 0.5."""


def _row(
    network: Network, p: float, mask: str, group: str, reach: float, of_none: float | None = None
) -> Row:
    return Row(
        f"{'peak memory, ' if group == 'memory' else ''}{network.name}, p = {p}, {mask}",
        network.name,
        p,
        mask,
        group,
        partial(_made, network, p, mask, group),
        reach,
        of_none,
    )


ROWS = [
    *(_row(network, 0.5, mask, "main", reach, none) for network, mask, reach, none in _REACH),
    *(_row(network, 0.1, mask, "small p", 0.98) for network, mask, *_ in _REACH),
    *(
        _row(network, p, "per sample", "rates", reach)
        for network, some, half in _STACKS
        for p, reach in ((0.1, 0.99), (0.2, 1.05), (0.3, some), (0.5, half))
    ),
    *(
        Row(m.name, m.name, m.p, "as built", "network", partial(_published, m), 0.98)
        for m in MODELS
    ),
    _row(_LONG, 0.5, "share=8", "memory", 0.65),
]

if __name__ == "__main__":
    main()
