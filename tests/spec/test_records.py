"""The specification's values cannot be changed: they are shared, and are keys of caches."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from mapdrop.spec import binding, law, local_spec, mask_spec, pattern, sharding, variable_rate

MODULES = (binding, law, local_spec, mask_spec, pattern, sharding, variable_rate)
SPEC = mask_spec.mask_spec("b c -> b c", 0.5)
PART = local_spec.bound_locally(SPEC, (2, 2), (sharding.Shard(0, 0, 2),))
RATE = variable_rate.RateWords([0, 0])
MADE = (
    *(SPEC, SPEC.bind((2, 2)), SPEC.bind((2, 2)).binding, SPEC.pattern, law.Law(0.5)),
    *(pattern.Axis("b"), sharding.Shard(0, 0, 2), sharding.LocalRange(0, 1, 2)),
    *(PART, RATE, local_spec.Box((2,), (np.zeros(1, np.int64),))),
    variable_rate.VariableSpec(SPEC, RATE),
)


def test_every_record_is_tried() -> None:
    ours = {
        value
        for module in MODULES
        for value in vars(module).values()
        if isinstance(value, type) and is_dataclass(value)
    }
    assert {type(made) for made in MADE} == ours


@pytest.mark.parametrize("made", MADE, ids=lambda made: type(made).__name__)
def test_a_record_cannot_be_changed(made: Any) -> None:
    name = fields(made)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(made, name, None)
    assert isinstance(hash(made), int)


def test_what_holds_arrays_is_known_by_its_identity() -> None:
    a, b = (local_spec.Box((2,), (np.zeros(1, np.int64),)) for _ in range(2))
    assert a != b
    bound = SPEC.bind((2, 2)).binding
    copy = binding.Binding(*(getattr(bound, field.name) for field in fields(bound)))
    assert copy != bound
