"""Dropout rates that follow the steps of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from mapdrop.backends.torch._internals import DropoutBase, skipped_by_dynamo
from mapdrop.backends.torch.rate import ScheduledRate
from mapdrop.rates.of_step import Rates
from mapdrop.spec.mask_spec import check_rate
from mapdrop.spec.seed import check_uint64
from mapdrop.spec.warn import warn_user
from mapdrop.torch.layers import Drop
from mapdrop.torch.seeded import named_layers

_TRIED = (0, *[10**n for n in range(8)])  # Steps at which some rate should not be 0.


class RateSchedule:
    """The rates of some layers, as functions of a step. `schedule` makes one.

    Attributes:
        steps: the number of steps so far.
        rates: the present rate of each layer, by its name.
    """

    def __init__(
        self, layers: Mapping[str, Drop], rate: Rates, optimizer: Optimizer | None
    ) -> None:
        self.steps, self._layers, self._rate = 0, dict(layers), rate
        self._own = {name: layer.p for name, layer in layers.items()}
        rates = self._rates(0, self._own)
        if not any(self._own.values()) and not any(
            p for step in _TRIED for p in self._rates(step, self._own).values()
        ):
            raise ValueError(
                "the layers' own rates are 0, and so is each rate that follows from them: make "
                "the layers with the rate that the schedule is to reach"
            )
        for name, layer in layers.items():
            layer.scheduled = ScheduledRate(self._own[name])
        self._set(rates)
        self._hook = None if optimizer is None else optimizer.register_step_post_hook(self._stepped)

    @property
    def rates(self) -> dict[str, float]:
        """The present rate of each layer, by its name."""
        return {name: layer.p for name, layer in self._layers.items()}

    def step(self) -> None:
        """Set the rates of the next step; call it after `optimizer.step()`.

        Raises:
            RuntimeError: for a schedule that follows an optimizer, and steps by itself, and for one
                that was removed.
        """
        if self._hook is not None:
            raise RuntimeError(
                "this schedule steps by itself, with its optimizer: leave step() out, or make it "
                "with schedule(model, rate, None)"
            )
        self._advance()

    @skipped_by_dynamo  # It belongs to no graph of an optimizer's compiled step.
    def _stepped(self, *_: Any) -> None:
        self._advance()

    def _advance(self) -> None:
        if not self._layers:
            raise RuntimeError("this schedule was removed: make a new one")
        self._set(self._rates(self.steps + 1, self._own))
        self.steps += 1

    def remove(self) -> None:
        """End the schedule: the layers have their own rates again, which may be set."""
        for name, layer in self._layers.items():
            del layer.scheduled  # Not None: compiled code takes it for the layer that it was.
            layer.p = self._own[name]
        if self._hook is not None:
            self._hook.remove()
        self._layers, self._hook = {}, None

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps and the layers' own rates, to be saved with the model."""
        return {"steps": self.steps, "own": dict(self._own)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a saved state. Its rates count, and a warning says where others were set.

        Raises:
            TypeError, ValueError: for what is not the state of a schedule of these layers.
        """
        if not isinstance(state_dict, Mapping) or state_dict.keys() != {"steps", "own"}:
            raise ValueError(f"the state of a schedule has steps and own, not {state_dict!r}")
        steps = check_uint64(state_dict["steps"], "steps")
        own = {name: check_rate(p, f"own[{name!r}]") for name, p in state_dict["own"].items()}
        if own.keys() != self._own.keys():
            names = ", ".join(map(repr, sorted(own.keys() ^ self._own.keys())))
            raise ValueError(f"the state is that of a schedule of other layers: {names}")
        others = {name: p for name, p in own.items() if p != self._own[name]}
        if others:
            told = ", ".join(f"{p} and not {self._own[n]} in {n!r}" for n, p in others.items())
            warn_user(f"the own rates that were saved count: {told}")
        rates = self._rates(steps, own)
        for name, p in own.items():
            _scheduled(self._layers[name]).own = p
        self._own, self.steps = own, steps
        self._set(rates)

    def _rates(self, step: int, own: Mapping[str, float]) -> dict[str, float]:
        """Return the rates of a step, checked before any is set."""
        return {
            name: check_rate(self._rate(step, p), f"rate({step}, {p}), for layer {name!r},")
            for name, p in own.items()
        }

    def _set(self, rates: Mapping[str, float]) -> None:
        for name, layer in self._layers.items():
            _scheduled(layer).p = rates[name]
            layer.p = rates[name]


def _scheduled(layer: Drop) -> ScheduledRate:
    assert layer.scheduled is not None
    return layer.scheduled


def schedule(model: nn.Module, rate: Rates, optimizer: Optimizer | None) -> RateSchedule:
    """Let the dropout rates of a model follow the steps of its training.

    Each step of the optimizer is one of the schedule. Rates change without compiling anything
    again under torch.compile, and without capturing or planning again in `compact`, which plans for
    the layers' own rates; the masks are those of layers that were given these rates.

    A layer's own rate is the one that it has when the schedule is made. To schedule some layers
    only, give an `nn.ModuleList` of them.

    Args:
        model: its layers of `mapdrop.torch` at any depth, which are changed in place. A copy of the
            model keeps the rates that it was made with.
        rate: a function of the step, from 0 on, and of a layer's own rate, as `mapdrop.rates` has
            them. It returns the rate, from 0 to 1, and the same one whenever it is asked.
        optimizer: whose steps are counted; None if you call the schedule's `step()` yourself,
            after `optimizer.step()` or once an epoch.

    Returns:
        The schedule, with `step()`, `state_dict()`, `load_state_dict()` and `remove()`. Save its
        state with that of the model: with `seeded`, a resumed run has the masks and the rates of
        the undisturbed one.

    Raises:
        TypeError, ValueError: for an optimizer that is none, a rate out of its range, a model
            without a layer of `mapdrop.torch`, and a layer that has a schedule.

    Warns:
        UserWarning: of other libraries' dropout in the model, which keeps its rate.

    >>> net = nn.Sequential(nn.Linear(8, 8), mapdrop.torch.DropPath(0.2), nn.Linear(8, 8))
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> ramp = mapdrop.torch.schedule(net, mapdrop.rates.linear(0, 1, steps=4), optimizer)
    >>> for _ in range(3):
    ...     net(torch.ones(4, 8)).sum().backward()
    ...     optimizer.step()
    >>> ramp.rates
    {'1': 0.15000000000000002}
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"schedule takes a torch.nn.Module, not {type(model).__name__}")
    if not callable(rate):
        raise TypeError(
            f"rate is a function of a step and a layer's own rate, as mapdrop.rates has them, not "
            f"{rate!r}"
        )
    if not (optimizer is None or isinstance(optimizer, Optimizer)):
        raise TypeError(
            "optimizer is a torch.optim.Optimizer, or None where you call step() yourself, not "
            f"{type(optimizer).__name__}"
        )
    layers = named_layers(model)
    others = _others(model)
    if not layers:
        found = f"; it has {others}, which it cannot change" if others else ""
        raise ValueError(f"the model has no layer of mapdrop.torch to schedule{found}")
    taken = [name for name, layer in layers.items() if layer.scheduled is not None]
    if taken:
        raise ValueError(
            f"layers {', '.join(map(repr, taken))} have a schedule: call its remove() first"
        )
    if others:
        warn_user(
            f"the schedule does not change {others}: replace what it should change by layers of "
            "mapdrop.torch (mapdrop.torch.convert), or give it an nn.ModuleList of those that it "
            "should"
        )
    return RateSchedule(layers, rate, optimizer)


def _others(model: nn.Module) -> str:
    """Return the dropout of other libraries in a model, with names; "" if there is none."""
    found = []
    for name, module in model.named_modules():
        p = getattr(module, "p" if isinstance(module, DropoutBase) else "drop_prob", 0)
        if not isinstance(module, Drop) and isinstance(p, (int, float)) and p > 0:
            found.append(f"{type(module).__name__} {name!r}")
    return ", ".join(found)
