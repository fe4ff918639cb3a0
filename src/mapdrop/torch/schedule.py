"""Dropout rates that follow the steps of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from mapdrop.backends.torch._internals import skipped_by_dynamo
from mapdrop.backends.torch.rate import ScheduledRate
from mapdrop.rates.of_layers import check_any, check_rates, rates_at
from mapdrop.rates.of_step import Rates
from mapdrop.spec.mask_spec import check_rate
from mapdrop.spec.seed import check_uint64
from mapdrop.spec.warn import warn_user
from mapdrop.torch.drop_layers import class_name, drops_inside, is_drop_layer, rate_of
from mapdrop.torch.layers import Drop
from mapdrop.torch.seeded import named_layers


class RateSchedule:
    """Let the rates of some layers follow a step. `schedule` makes one.

    Args:
        layers: the layers, by their names.
        rate: a function of the step and of a layer's own rate.
        optimizer: whose steps are counted; None where `step` is called instead.

    Attributes:
        steps: the number of steps so far.

    Raises:
        TypeError: for an optimizer that does not tell its steps.
        ValueError: for rates that are out of range, or 0 at every step.

    Examples:
        >>> net = nn.Sequential(nn.Linear(8, 8), mapdrop.torch.Dropout(0.5))
        >>> epochs = mapdrop.torch.schedule(net, mapdrop.rates.early(until=1), None)
        >>> epochs.step()
        >>> epochs.steps, epochs.rates
        (1, {'1': 0.0})
        >>> epochs.remove()
        >>> net[1].p
        0.5
    """

    steps: int

    def __init__(
        self, layers: Mapping[str, Drop], rate: Rates, optimizer: Optimizer | None
    ) -> None:
        self.steps, self._layers, self._rate = 0, dict(layers), rate
        self._own = {name: layer.p for name, layer in layers.items()}
        rates = rates_at(rate, 0, self._own)
        check_any(rate, self._own)
        self._began = False  # Whether a step of the optimizer began that did not count yet.
        self._hooks = [] if optimizer is None else self._hooked(optimizer)
        for name, layer in layers.items():
            layer.scheduled = ScheduledRate(self._own[name])
        self._set(rates)

    @property
    def rates(self) -> dict[str, float]:
        """The present rate of each layer, by its name."""
        return {name: layer.p for name, layer in self._layers.items()}

    def step(self) -> None:
        """Set the rates of the next step; call it after `optimizer.step()`, or once an epoch.

        Raises:
            RuntimeError: for a schedule that follows an optimizer, and steps by itself, and for one
                that was removed.
        """
        if self._hooks:
            raise RuntimeError(
                "this schedule steps by itself, with its optimizer: leave step() out, or make it "
                "with schedule(model, rate, None)"
            )
        self._advance()

    def _hooked(self, optimizer: Optimizer) -> list[RemovableHandle]:
        """Count the optimizer's steps; return what ends that. Raises TypeError."""
        try:
            return [
                optimizer.register_step_pre_hook(self._begin),
                optimizer.register_step_post_hook(self._stepped),
            ]
        except AttributeError as problem:
            raise TypeError(
                f"{type(optimizer).__name__} does not tell its steps: give schedule the optimizer "
                "inside it, as before accelerate's prepare, or None, and call step() yourself"
            ) from problem

    # Hooks belong to no graph of an optimizer's compiled step.
    @skipped_by_dynamo
    def _begin(self, *_: Any) -> None:
        self._began = True

    @skipped_by_dynamo
    def _stepped(self, optimizer: Optimizer, *_: Any) -> None:
        """Advance, once a step: an optimizer that calls another's step has hooks called twice."""
        began, self._began = self._began, False
        # A GradScaler calls fused optimizers in any case, and tells them what they leave out.
        left_out = getattr(optimizer, "found_inf", None)
        if began and not (isinstance(left_out, Tensor) and bool(left_out > 0)):
            self._advance()

    def _advance(self) -> None:
        if not self._layers:
            raise RuntimeError("this schedule was removed: make a new one")
        self._set(rates_at(self._rate, self.steps + 1, self._own))
        self.steps += 1

    def remove(self) -> None:
        """End the schedule: the layers have their own rates again, which may be set."""
        for name, layer in self._layers.items():
            del layer.scheduled  # Not None: compiled code takes it for the layer that it was.
            layer.p = self._own[name]
        for hook in self._hooks:
            hook.remove()
        self._layers, self._hooks = {}, []

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps and the layers' own rates, to be saved with the model."""
        return {"steps": self.steps, "own": dict(self._own)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a saved state. Its rates count, and a warning says where others were set.

        Args:
            state_dict: what `state_dict` returned.

        Raises:
            TypeError: for a number of steps, or a rate, that is no number.
            ValueError: for what is not the state of a schedule of these layers.
            RuntimeError: for a schedule that was removed.
        """
        if not self._layers:
            raise RuntimeError("this schedule was removed: make a new one")
        whole = isinstance(state_dict, Mapping) and state_dict.keys() == {"steps", "own"}
        if not whole or not isinstance(state_dict["own"], Mapping):
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
        rates = rates_at(self._rate, steps, own)
        for name, p in own.items():
            _scheduled(self._layers[name]).own = p
        self._own, self.steps = own, steps
        self._set(rates)

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
        TypeError: where the model, the rate or the optimizer is none.
        ValueError: for a rate out of its range, a model without a layer of `mapdrop.torch`, and a
            layer that has a schedule.

    Warns:
        UserWarning: of other libraries' dropout in the model, which keeps its rate.

    Examples:
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
    check_rates(rate)
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
    return ", ".join(
        f"{class_name(module)} {name!r}"
        for name, module in model.named_modules()
        if not isinstance(module, Drop)
        and (is_drop_layer(module) or drops_inside(module))
        and rate_of(module)
    )
