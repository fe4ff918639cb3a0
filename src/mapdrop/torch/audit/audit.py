"""audit(): which dropout stands where in a model, and what is wrong with it."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mapdrop.backends.torch._internals import AUDIT_LACKS, WRAPPERS, pytree
from mapdrop.torch.audit.checks import CHECKS, NOTES, judged
from mapdrop.torch.audit.elsewhere import better_places
from mapdrop.torch.audit.evidence import Evidence, drops_of, layers_of
from mapdrop.torch.audit.measure import Measured, shortest
from mapdrop.torch.audit.places import run_model
from mapdrop.torch.audit.ranks import alike
from mapdrop.torch.audit.report import Audit, AuditedDrop
from mapdrop.torch.audit.watch import Run, watched
from mapdrop.torch.compact.model import compact, compact_report
from mapdrop.torch.compact.report import Report
from mapdrop.torch.compact.schedule import Schedule


def audit(model: nn.Module, /, *inputs: Any, **kwargs: Any) -> Audit:
    """Return which dropout stands where in a model, and what is wrong with it.

    A copy of the model runs in training and in eval mode, and each operation is watched: a drop is
    a product of data with a mask that follows from random numbers, whoever wrote it and in
    whatever way. Its mask is then drawn again and again, which shows what it drops in truth. The
    model, its inputs and the generators of PyTorch, Python and NumPy are left as they are.

    Args:
        model: any module. Where it is wrapped (torch.compile, DistributedDataParallel), the module
            inside is audited. In a process group all processes must call this.
        *inputs: what the model is called with: a small batch, of two samples or more, of the
            shapes and types of training. Call it inside `torch.autocast` if training is.
        **kwargs: what it is called with by name.

    Returns:
        An `Audit`: `drops`, `findings` (what is wrong), `notes` (what may be meant) and more, with
        a table and sentences as its text.

    Raises:
        TypeError: if `model` is not a module.
        ValueError: if it or its inputs have no values, as on the meta device, or in an empty batch.
        RuntimeError: if the model cannot be copied, or PyTorch lacks what is needed to watch it.
        Exception: what the model itself raises in training mode.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout2d(0.5), nn.BatchNorm2d(8))
        >>> found = mapdrop.torch.audit(net, torch.ones(2, 3, 9, 9))
        >>> [(drop.name, drop.p, drop.unit) for drop in found.drops]
        [('1', 0.5, 'maps')]
        >>> [finding.check for finding in found.findings]
        ['before BatchNorm']
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"audit takes a torch.nn.Module, not {type(model).__name__}")
    if AUDIT_LACKS:
        raise RuntimeError(AUDIT_LACKS)
    model = _unwrapped(model)
    _check_values(model, (inputs, kwargs))
    same = alike(model)
    with _undisturbed(_devices(model, (inputs, kwargs))):
        return _audited(model, (inputs, kwargs), same)


def _audited(model: nn.Module, given: Any, same: str) -> Audit:
    unseen: list[str] = []
    training, in_eval = _watched(_copy(model, training=True), given), Run({})
    with _told_in(unseen, "eval mode"):  # It may want other arguments there, as labels in training.
        in_eval = _watched(_copy(model, training=False), given)
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        unseen.append("what calls in TorchScript: its layers, its lines and its rates p")
    known: dict[object, Measured] = {}
    layers, drops = layers_of(training, in_eval), drops_of(training.drops, known)
    evidence = Evidence(layers, drops, drops_of(in_eval.drops, known), same)
    seconds = report = None
    plans: list[Schedule] = []
    with _told_in(unseen, "the time of a training step"):
        seconds = _step_seconds(_copy(model, training=True), given)
    audited = tuple(drop.audited(seconds) for drop in drops)
    if any(map(_is_of_more, audited)):
        with _told_in(unseen, "what compact would skip"):
            report, plans = _skipped(_copy(model, training=True), given)
    findings, notes = judged(CHECKS, evidence), judged(NOTES, evidence)
    better = better_places(plans, audited)
    notes += tuple(note for place in better for note in place.notes())
    return Audit(audited, findings, notes, tuple(unseen), seconds, report, better)


def _is_of_more(drop: AuditedDrop) -> bool:
    """Return whether more than single values drop; behind pooling a map may be one value."""
    is_of_maps = len(drop.shape) > 2 and set(drop.axes) <= {0, 1}
    return drop.unit != "values" or is_of_maps


@contextmanager
def _told_in(unseen: list[str], what: str) -> Iterator[None]:
    """Note what cannot be seen where the model raises, and go on."""
    try:
        yield
    except Exception as problem:  # The model's own code runs, and may raise anything.
        unseen.append(f"{what}, where the model raises {_told(problem)}")


def _check_values(model: nn.Module, given: Any) -> None:
    tensors = [*model.parameters(), *model.buffers(), *pytree.tree_leaves(given)]
    if any(isinstance(value, Tensor) and value.is_meta for value in tensors):
        raise ValueError(
            "audit runs the model, so it needs tensors with values, and not some on the meta "
            'device: model.to_empty(device="cpu"), and inputs made there'
        )
    if any(isinstance(value, Tensor) and not value.numel() for value in pytree.tree_leaves(given)):
        raise ValueError("audit needs inputs with values, of two samples or more, not empty ones")


def _watched(model: nn.Module, given: Any) -> Run:
    # Fused attention and cuDNN's recurrent layers would draw their masks where nobody sees them.
    args, kwargs = _cloned(given)
    with (
        sdpa_kernel(SDPBackend.MATH),
        torch.backends.cudnn.flags(enabled=False),
        watched(model) as run,
    ):
        run_model(model, args, kwargs)
    return run


def _step_seconds(model: nn.Module, given: Any) -> float:
    """Return how long a forward and a backward pass take, at their best."""
    args, kwargs = _cloned(given)

    def step() -> None:
        outputs = pytree.tree_leaves(run_model(model, args, kwargs))
        roots = [y for y in outputs if isinstance(y, Tensor) and y.requires_grad]
        if roots:
            torch.autograd.backward(roots, [torch.ones_like(y) for y in roots])

    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return shortest(step, device)


def _skipped(model: nn.Module, given: Any) -> tuple[Report, list[Schedule]]:
    """Return what compact would skip in a training step, and by which plans."""
    fast: Any = compact(model)
    args, kwargs = _cloned(given)
    run_model(fast, args, kwargs)
    return compact_report(fast), fast._mapdrop_engine.schedules


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the module that wrappers of PyTorch's only call."""
    name = WRAPPERS.get(type(model).__name__)
    inner = getattr(model, name, None) if name is not None else None
    return _unwrapped(inner) if isinstance(inner, nn.Module) else model


def _copy(model: nn.Module, training: bool) -> nn.Module:
    """Return a copy in this mode, which may be changed in every respect.

    If the model is in this mode, parts of it that are not stay so, as a frozen backbone.
    """
    try:
        made = copy.deepcopy(model)
        return made if model.training is training else made.train(training)
    except Exception as problem:
        raise RuntimeError(
            f"audit runs a copy of the model, and copy.deepcopy raises {_told(problem)}; audit it "
            "before its first step, or delete what it keeps of one"
        ) from problem


def _cloned(given: Any) -> Any:
    """Return inputs that may be overwritten."""

    def cloned(x: Tensor) -> Tensor:
        return x.detach().clone().requires_grad_(x.requires_grad)

    return pytree.tree_map_only(Tensor, cloned, given)


def _devices(model: nn.Module, given: Any) -> list[int]:
    """Return the GPUs whose generators the model may use."""
    tensors = [*model.parameters(), *model.buffers(), *pytree.tree_leaves(given)]
    return sorted({t.device.index for t in tensors if isinstance(t, Tensor) and t.is_cuda})


@contextmanager
def _undisturbed(devices: list[int]) -> Iterator[None]:
    """Leave generators and warnings as they are, and have the same random numbers each time."""
    python, array = random.getstate(), np.random.get_state()
    try:
        with (
            torch.random.fork_rng(devices),
            torch.inference_mode(False),
            torch.enable_grad(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # Of the model; the report says what matters here.
            # Not torch.manual_seed, which seeds the other devices, too.
            for device in devices:
                torch.cuda.default_generators[device].manual_seed(0)
            torch.default_generator.manual_seed(0)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(array)


def _told(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"
