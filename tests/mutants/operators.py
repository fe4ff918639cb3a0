"""The changes that are tried: some of cosmic-ray's, and three that registries and rules need."""

from __future__ import annotations

from typing import Any

from cosmic_ray import plugins
from cosmic_ray.operators.operator import Operator
from parso.python.tree import Name

# For each operator of the language one or two others, as PIT does: its neighbour at the border,
# and the opposite. All of cosmic-ray's are twelve for each, most of which no test could miss.
_BINARY = (
    "Add_Sub", "Sub_Add", "Mul_Add", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul",
    "RShift_LShift", "LShift_RShift", "BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitOr",
)  # fmt: skip
_COMPARISON = (
    "Eq_NotEq", "NotEq_Eq", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt",
    "GtE_Lt", "Is_IsNot", "IsNot_Is",
)  # fmt: skip
_OTHER = (
    "ReplaceUnaryOperator_Delete_USub", "ReplaceUnaryOperator_Delete_Not",
    "ReplaceUnaryOperator_Delete_Invert", "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue",
    "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceContinueWithBreak", "ExceptionReplacer",
    "NumberReplacer", "RemoveDecorator", "ZeroIterationForLoop",
)  # fmt: skip


# Keywords of calls that no result follows from: one asserts, the other says how much is kept.
IDLE = ("strict", "maxsize")


class _Removal(Operator):  # type: ignore[misc]
    """Takes one of several neighbours out, with its comma."""

    def found(self, node: Any) -> list[tuple[int, int]]:
        """Return where the children of each removal begin and end."""
        raise NotImplementedError

    def mutation_positions(self, node: Any) -> list[Any]:
        return [
            (node.children[start].start_pos, node.children[stop - 1].end_pos)
            for start, stop in self.found(node)
        ]

    def mutate(self, node: Any, index: int) -> Any:
        start, stop = self.found(node)[index]
        comma = node.children[stop : stop + 1]
        del node.children[start : stop + (comma != [] and comma[0].get_code().strip() == ",")]
        return node

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        return ()


class RemoveKeyword(_Removal):
    """f(a, b=c) becomes f(a): the default instead of what was given."""

    def found(self, node: Any) -> list[tuple[int, int]]:
        if node.type not in ("arglist", "trailer"):
            return []
        return [
            (i, i + 1)
            for i, child in enumerate(node.children)
            if child.type == "argument" and child.children[1].type == "operator"
            and child.children[1].value == "=" and child.children[0].value not in IDLE
        ]  # fmt: skip


class RemoveEntry(_Removal):
    """{a: b, c: d} becomes {c: d}: a line of a registry less."""

    def found(self, node: Any) -> list[tuple[int, int]]:
        if node.type != "dictorsetmaker":
            return []
        colons = [i for i, child in enumerate(node.children) if child.get_code().strip() == ":"]
        simple = node.children[-1].type not in ("comp_for", "sync_comp_for")
        return [(i - 1, i + 2) for i in colons] if simple else []


class ReturnNone(Operator):  # type: ignore[misc]
    """`return x` becomes `return None`."""

    def mutation_positions(self, node: Any) -> list[Any]:
        returns = node.type == "return_stmt" and node.children[1].get_code().strip() != "None"
        return [(node.start_pos, node.end_pos)] if returns else []

    def mutate(self, node: Any, index: int) -> Any:
        node.children[1:] = [Name("None", node.children[1].start_pos, prefix=" ")]
        return node

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        return ()


OPERATORS: tuple[Operator, ...] = (
    *(plugins.get_operator(f"core/ReplaceBinaryOperator_{name}")() for name in _BINARY),
    *(plugins.get_operator(f"core/ReplaceComparisonOperator_{name}")() for name in _COMPARISON),
    *(plugins.get_operator(f"core/{name}")() for name in _OTHER),
    RemoveKeyword(),
    RemoveEntry(),
    ReturnNone(),
)
