"""What records and facts are: what none of them says, and that they cannot be changed."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
import torch

from mapdrop.torch.graph import rules
from mapdrop.torch.graph.facts import Facts, PerMap
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.record import Record
from mapdrop.torch.graph.registry import OPERATIONS, may_draw
from tests.torch.graph.calls import Case
from tests.torch.graph.test_registry import KNOWN, LINES

# What makes arrays that follow from no sample, and what is never below a drop of samples.
WITHOUT_SAMPLES = {
    *("empty", "zeros", "ones", "full", "arange"),
    *("empty_like", "zeros_like", "ones_like", "full_like"),
    *("copy", "feature_alpha_dropout"),
}
# What a residual branch may end in, above its drop. That it is true is tested elsewhere.
KEEP_ZEROS = {
    *("relu", "leaky_relu", "abs", "neg", "contiguous", "clone", "mul"),
    *("dropout", "dropout1d", "dropout2d", "dropout3d", "mapdrop.drop"),
    *("flatten", "view", "reshape", "squeeze", "unsqueeze", "unflatten", "getitem", "getattr"),
    *("permute", "transpose", "swapaxes", "swapdims"),
    *("to", "float", "half", "bfloat16", "double", "type_as", "long", "bool", "detach"),
}


def test_every_record_has_a_rule_of_samples_but_these() -> None:
    assert {name for name, record in OPERATIONS.items() if record.samples is None} == (
        WITHOUT_SAMPLES
    )


def test_what_keeps_zeros_says_so() -> None:
    assert {name for name, record in OPERATIONS.items() if record.keeps_zeros} == KEEP_ZEROS


def test_a_record_says_as_little_as_it_can() -> None:
    record = Record(lambda node, record, maps: None)
    assert not record.homogeneous
    assert not record.keeps_zeros
    assert (record.combine, record.samples) == (None, None)
    assert record.draws(LINES[0].node) is False
    with pytest.raises(FrozenInstanceError):
        record.homogeneous = True  # type: ignore[misc]


KINDS = {case.kind: case for case in reversed(KNOWN)}


@pytest.mark.parametrize("case", KINDS.values(), ids=str)
def test_facts_cannot_be_changed_and_are_known_by_their_identity(case: Case) -> None:
    facts: Any = case.facts
    with pytest.raises(FrozenInstanceError):
        facts.homogeneous = not facts.homogeneous
    with pytest.raises(FrozenInstanceError):
        facts.another = 1
    given = {field.name: getattr(facts, field.name) for field in fields(facts)}
    assert type(facts)(**given) != facts
    assert isinstance(hash(facts), int)
    assert type(facts).copies is (type(facts).__name__ not in ("Identity", "Flatten"))
    assert all(field.kw_only for field in fields(facts))


@pytest.mark.parametrize("kind", [RuntimeError, TypeError, ValueError, IndexError])
def test_what_fails_on_zeros_has_no_facts(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(line for line in LINES if line.kind is PerMap)

    def failing(node: Node) -> Any:
        def fail(values: Any) -> Any:
            raise kind("on zeros")

        return fail

    assert rules.per_map(case.node, OPERATIONS["relu"], lambda node: (6, 1)) is not None
    monkeypatch.setattr(rules, "caller", failing)
    assert rules.per_map(case.node, OPERATIONS["relu"], lambda node: (6, 1)) is None


def test_facts_are_abstract() -> None:
    assert Facts.__abstractmethods__ == {"nonzero", "live"}
    assert not Facts.__dataclass_fields__["homogeneous"].default


def test_inputs_draw_nothing_and_what_is_unknown_may_draw() -> None:
    (source,), call = LINES[0].graph.inputs[:1], LINES[0].node
    assert not may_draw(source, has_facts=False)
    unknown = replace(call, target=torch.rand_like)
    assert may_draw(unknown, has_facts=False)
    assert not may_draw(unknown, has_facts=True)
    assert not may_draw(replace(unknown, value=None), has_facts=False)
