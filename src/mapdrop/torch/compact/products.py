"""The multiplications of an operation."""

from __future__ import annotations

from math import prod

from mapdrop.torch.graph.graph import Node


def products(node: Node) -> int:
    """Return the number of multiplications of a matrix product or convolution; 0 of others."""
    first, second = _shape(node, 0, "input", "query"), _shape(node, 1, "weight", "mat2", "key")
    size = prod(node.shape)
    if node.operation in ("linear", "matmul", "bmm"):
        return size * first[-1]
    if node.operation.startswith("conv_transpose"):
        return prod(first) * prod(second[1:])
    if node.operation.startswith("conv"):
        return size * prod(second[1:])
    if node.operation == "multi_head_attention_forward":
        return prod(first) * (4 * first[-1] + 2 * second[0])
    if node.operation == "scaled_dot_product_attention":
        return 2 * size * second[-2]
    return 0


def _shape(node: Node, position: int, *names: str) -> tuple[int, ...]:
    """Return the shape of an argument, by position or by one of these names."""
    given = next((v for k, v in (node.kwargs or {}).items() if k in names), None)
    operand = node.argument("", position) if given is None else given
    return operand.shape if isinstance(operand, Node) else ()
