"""The report: its text, and what compact would skip."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, replace
from importlib import import_module

import pytest
import torch
from torch import nn

import mapdrop.torch as md
from mapdrop.torch.audit import Audit, AuditedDrop, Finding
from tests.torch.audit.models import X4, right_cnn
from tests.torch.compact.agreement import ALWAYS

DROP = AuditedDrop(
    "net.drop", "Dropout2d", False, "net.py:14", 0.5, 0.50001, (8, 64, 9, 9), "float32", (0, 1),
    1, 0.0213,
)  # fmt: skip
FINDING = Finding("rate", "net.py:14", "net.drop", "It drops more.", "Drop less.")


def audit(*findings: Finding, notes: tuple[Finding, ...] = ()) -> Audit:
    more = replace(DROP, name="head", p=None, axes=(0, 1, 2, 3), where="", calls=12, share=0.1)
    return Audit((DROP, more), findings, notes, (), 0.01, None)


def test_its_table_is_aligned() -> None:
    assert str(audit()) == (
        "drop      kind         p  dropped  of                unit    calls   time  where\n"
        "net.drop  Dropout2d  0.5   0.5000  8x64x9x9 float32  maps        1   2.1%  net.py:14\n"
        "head      Dropout2d    ?   0.5000  8x64x9x9 float32  values     12  10.0%\n"
        "\n"
        "no findings"
    )


def test_findings_that_say_the_same_stand_together() -> None:
    others = [replace(FINDING, where=f"net.py:{n}", name="") for n in range(5)]
    text = str(audit(FINDING, *others, notes=(replace(FINDING, where="", name=""),)))
    assert text.partition("\n\n")[2] == (
        "findings: 6\n"
        "- rate: net.py:14 (net.drop), net.py:0, net.py:1, net.py:2, and 2 more\n"
        "  It drops more. Drop less.\n"
        "\n"
        "notes: 1\n"
        "- rate\n"
        "  It drops more. Drop less."
    )


def test_a_finding_alone_is_a_line() -> None:
    assert str(FINDING) == "rate: net.py:14 (net.drop): It drops more. Drop less."


@pytest.mark.parametrize(
    ("axes", "unit"),
    [
        ((), "the batch"), ((0,), "samples"), ((0, 1), "maps"), ((1,), "maps"),
        ((0, 2), "axes 0, 2"), ((0, 1, 2, 3), "values"),
    ],
)  # fmt: skip
def test_units(axes: tuple[int, ...], unit: str) -> None:
    assert replace(DROP, axes=axes).unit == unit


def test_it_is_frozen() -> None:
    found = audit()
    with pytest.raises(FrozenInstanceError):
        found.findings = ()  # type: ignore[misc]


def test_without_dropout_it_says_so() -> None:
    assert str(Audit((), (), (), (), 0.01, None)).startswith("no dropout runs in a training step")


@pytest.mark.compiler
def test_what_compact_would_skip_is_compact_s_own_report(monkeypatch: pytest.MonkeyPatch) -> None:
    # The machine's own constants would decide anew each time.
    monkeypatch.setattr(
        import_module("mapdrop.torch.compact.schedule"), "calibrate", lambda: ALWAYS
    )
    net = nn.Sequential(nn.Conv2d(8, 64, 3), nn.Dropout2d(0.5), nn.Conv2d(64, 64, 3))
    found = md.audit(net, torch.zeros(8, 8, 32, 32))
    assert found.compact is not None
    lines = [(line.name, line.reads, line.makes) for line in found.compact.lines]
    assert lines == [("0", 1, 0.5), ("2", 0.5, 1)]
    assert re.search(r"compact would skip:\noperation +reads +makes", str(found))


@pytest.mark.compiler
def test_single_values_give_compact_nothing() -> None:
    assert md.audit(nn.Sequential(nn.Conv2d(8, 64, 3), nn.Dropout(0.5)), X4).compact is None
    found = md.audit(right_cnn(), X4)
    assert found.compact is not None
    assert [line.name for line in found.compact.lines] == ["0", "4", "10"]
