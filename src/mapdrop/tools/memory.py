"""Measure the most bytes of tensors that a piece of work holds at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

# Otherwise its library writes two lines for each profile among what the command prints.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

_TRIES = 3


def peak(work: Callable[[], object], device: str = "cpu") -> int:
    """Return the bytes allocated and not yet freed at the worst moment, beyond those at the start.

    On a GPU they are those of CUDA's allocator. On the CPU they are counted by the memory events of
    PyTorch's profiler, one for every allocation and every release of PyTorch's CPU allocator. What
    is not that allocator's is not counted: scratch memory inside oneDNN, and NumPy's arrays. What
    was allocated before and is freed by `work` counts for nothing, so the caller frees first what
    should not be there. (A TorchDispatchMode could count as well, but `compact` computes the
    ordinary way under one.)

    Args:
        work: is done once, or again where the profiler recorded nothing, as it does now and then
            (torch 2.13).
        device: where its tensors are, "cpu" or "cuda".

    Raises:
        RuntimeError: when the profiler recorded nothing in several tries.
    """
    if device != "cpu":
        return _on_gpu(work)
    for _ in range(_TRIES):
        most = _recorded(work)
        if most is not None:
            return most
    raise RuntimeError("the profiler recorded no allocation on the CPU")


def _on_gpu(work: Callable[[], object]) -> int:
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    kept = work()  # As below.
    del kept
    return torch.cuda.max_memory_allocated() - held


def _recorded(work: Callable[[], object]) -> int | None:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        torch.empty(1, device="cpu")  # Two changes: without them, nothing was recorded.
        kept = work()  # Held until the profile ends, as its memory is part of the answer.
    del kept
    with TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(file))
        events: list[dict[str, Any]] = json.loads(file.read_text())["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    changes.sort(key=lambda event: event["ts"])
    given = [(event["args"]["Addr"], int(event["args"]["Bytes"])) for event in changes]
    return _most_held(given[2:]) if given else None


def _most_held(changes: list[tuple[int, int]]) -> int:
    """Return the most bytes held at once, of blocks that were allocated in these changes.

    A change is an address and the bytes allocated there; negative bytes are released.
    """
    sizes: dict[int, int] = {}
    held, most = 0, 0
    for address, size in changes:
        if size > 0:
            sizes[address] = size
            held += size
        else:
            held -= sizes.pop(address, 0)
        most = max(most, held)
    return most
