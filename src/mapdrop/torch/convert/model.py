"""convert(): a model with its drop layers replaced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import torch
from torch import nn

from mapdrop.torch.convert.counterparts import COUNTERPARTS, Key, Make, NoCounterpartError, like
from mapdrop.torch.convert.functional import functional_drops
from mapdrop.torch.convert.report import ConvertReport, Left, Replaced
from mapdrop.torch.drop_layers import class_name, drops_inside, is_drop_layer, rate_of
from mapdrop.torch.layers import Drop

Model = TypeVar("Model", bound=nn.Module)

_RECORD = "_mapdrop_converted"
_BLOCKS = "the mean drop of blocks is p now; torchvision and timm drop less or more than they say"


def convert(model: Model, layers: Mapping[Any, type[Drop] | Make] | None = None) -> Model:
    """Replace a model's drop layers by mapdrop's, with the same rates and settings.

    Without `layers`, each layer that has a counterpart is replaced by it, so that the law stays
    what it was: PyTorch's `nn.Dropout` and `nn.Dropout1d/2d/3d`, the `DropPath` of timm,
    transformers (`Dinov2DropPath`, ...) and MONAI, torchvision's `StochasticDepth`, and the
    DropBlock of torchvision and timm, whose mean drop becomes p. With `layers`, those are replaced
    that it names, by whatever it says.

    A layer keeps its rate (`p`, `drop_prob`, ...), scale (`scale_by_keep=False` is `scale=None`),
    `inplace`, block size, training flag and hooks; the state dict keeps its keys. A layer that
    stands in several places is one layer in all of them. What drops by a function
    (`nn.functional.dropout`, attention, `nn.LSTM`) is not replaced: `convert_report(model)` lists
    it, with what was replaced.

    Args:
        model: changed in place, if it is not `seeded` yet.
        layers: from a class, which stands for its instances but not for those of subclasses, or
            from a class's name, which may have wildcards (``"*DropPath"``); to a layer class of
            `mapdrop.torch`, or to a function that makes the new layer from the old one. The first
            key that fits a layer counts. To add layers to the default, convert twice.

    Returns:
        The model; the new layer if the model itself is one that is replaced.

    Raises:
        TypeError: if the model, a key or a value is of another type.
        ValueError: if a key fits no layer, the model has nothing to replace or is seeded, or a
            layer has a setting that the new one has not. The model is then as it was.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout(0.1), nn.Conv2d(8, 9, 1))
        >>> mapdrop.torch.convert(net, {nn.Dropout: mapdrop.torch.SpatialDropout2d})[1]
        SpatialDropout2d('b c h w -> b c', p=0.1)

        >>> tokens = {nn.Dropout: lambda old: mapdrop.torch.Drop("b t c -> b c", old.p)}
        >>> mapdrop.torch.convert(nn.Sequential(nn.Dropout(0.2)), tokens)[0]
        Drop('b t c -> b c', p=0.2)
    """
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            "convert takes a torch.nn.Module, before torch.jit.script compiles it, "
            f"not {type(model).__name__}"
        )
    places: dict[nn.Module, list[str]] = {}
    for name, layer in model.named_modules(remove_duplicate=False):
        places.setdefault(layer, []).append(name)
    made, refused = _new_layers(_makers(model, layers), {} if layers is None else places)
    replaced = tuple(_replaced(places[old], old, new) for old, new in made.items())
    for old, new in made.items():
        _hand_over(old, new)
        for name in filter(None, places[old]):
            model.set_submodule(name, new)
    earlier = getattr(model, _RECORD, ConvertReport((), ()))
    result: Any = made.get(model, model)
    record = ConvertReport((*earlier.replaced, *replaced), tuple(_left(result, refused)))
    setattr(result, _RECORD, record)
    return result  # type: ignore[no-any-return]


def convert_report(model: nn.Module) -> ConvertReport:
    """Return which layers `convert` replaced in a model, and what in it drops by other means.

    Layers that stayed have the reason with them. Functional dropout is found by reading the code of
    each module's forward and of the functions it names, not by running it. So it is listed even if
    its rate is 0, and what is chosen at run time (the attention functions of transformers), what
    another package does, and products with random numbers are not seen.

    Args:
        model: what `convert` returned.

    Returns:
        The report, whose text is a line for each layer.

    Raises:
        TypeError: if `convert` did not return the model.

    Examples:
        >>> class Block(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.drop, self.lstm = nn.Dropout(0.1), nn.LSTM(8, 8, 2, dropout=0.3)
        >>> print(mapdrop.torch.convert_report(mapdrop.torch.convert(Block())))
        replaced  Dropout(p=0.1, inplace=False) -> Dropout('... -> ...', p=0.1)  (drop)
        left      LSTM with dropout=0.3: it drops inside PyTorch's own code  (lstm)
    """
    record: ConvertReport | None = getattr(model, _RECORD, None)
    if record is None:
        raise TypeError(
            f"convert_report takes what convert returned, not another {type(model).__name__}: "
            "model = convert(model), and then convert_report(model)"
        )
    return record


def _makers(model: nn.Module, layers: Mapping[Any, Any] | None) -> dict[nn.Module, Any]:
    """Return each layer that is to be replaced with what makes its successor."""
    chosen = COUNTERPARTS if layers is None else _checked(layers)
    keys = {m: key for m in model.modules() if (key := _key_of(m, chosen)) is not None}
    ours = [m for m in model.modules() if isinstance(m, Drop)]
    if layers is None:
        if not keys and not ours:
            raise ValueError(f"convert has nothing to replace: the model has {_kinds(model)}")
    elif unused := chosen.keys() - keys.values():
        raise ValueError(f"no layer of the model fits {_texts(unused)}; it has {_kinds(model)}")
    if keys and any(layer.source is not None for layer in ours):
        raise ValueError("the model is seeded, and new layers would not be: convert it first")
    return {layer: chosen[key] for layer, key in keys.items()}


def _new_layers(
    makers: Mapping[nn.Module, Any], asked: Mapping[nn.Module, list[str]]
) -> tuple[dict[nn.Module, nn.Module], dict[nn.Module, str]]:
    """Return the successors of layers, and the reasons of those that have none.

    A layer that was `asked` for, by the names given, has to have one.
    """
    made: dict[nn.Module, nn.Module] = {}
    refused: dict[nn.Module, str] = {}
    for old, make in makers.items():
        try:
            new = _made(make, old)
        except NoCounterpartError as problem:
            if old in asked:
                raise ValueError(
                    f"{asked[old][0] or 'the model'}, {old!r}, is not replaced: {problem}; "
                    "give a function that makes the new layer, lambda old: ..."
                ) from None
            refused[old] = str(problem)
            continue
        if new is not old:
            made[old] = new
    return made, refused


def _checked(layers: Mapping[Any, Any]) -> Mapping[Any, Any]:
    for key, value in layers.items():
        if not (isinstance(key, str) or (isinstance(key, type) and issubclass(key, nn.Module))):
            raise TypeError(f"a key of layers is a class of layers or its name, not {key!r}")
        if isinstance(value, type) and (not issubclass(value, Drop) or value is Drop):
            raise TypeError(
                f"{value.__name__} is no layer of mapdrop.torch that is made from a rate alone: "
                "give one, or a function such as lambda old: Drop(pattern, old.p)"
            )
        if not callable(value):
            raise TypeError(
                f"a value of layers is a layer class or a function of the old layer, not {value!r}"
            )
    if not layers:
        raise ValueError("layers is empty: leave it out for the counterparts of all layers")
    return layers


def _key_of(layer: nn.Module, layers: Mapping[Key, Any]) -> Key | None:
    """Return the first key that stands for a layer; a name never does for one of mapdrop's."""
    name, ours = type(layer).__name__, isinstance(layer, Drop)
    for key in layers:
        named = isinstance(key, str) and not ours and fnmatchcase(name, key)
        if named or type(layer) is key:
            return key
    return None


def _made(make: Any, old: nn.Module) -> nn.Module:
    if not _is_leaf(old):
        raise NoCounterpartError("it has parameters, buffers or layers of its own")
    new = like(make, old) if isinstance(make, type) else make(old)
    if not isinstance(new, nn.Module):
        raise TypeError(f"the new layer for {old!r} is a torch.nn.Module, not {new!r}")
    return new


def _is_leaf(module: nn.Module) -> bool:
    return not [*module.children(), *module.parameters(), *module.buffers()]


def _replaced(names: list[str], old: nn.Module, new: nn.Module) -> Replaced:
    note = _BLOCKS if getattr(new, "block", ()) else ""
    return Replaced(tuple(names), repr(old), repr(new), note)


def _hand_over(old: nn.Module, new: nn.Module) -> None:
    """Give a new layer the old one's training flag, and its hooks, whose handles go on."""
    new.train(old.training)
    hooks = {name: value for name, value in vars(old).items() if "hook" in name}
    vars(new).update(hooks)
    for by_number in hooks.values():
        for number, hook in by_number.items() if isinstance(by_number, dict) else ():
            if getattr(hook, "with_module", False):  # PyTorch's wrapper, which holds the old layer.
                by_number[number] = type(hook)(hook.hook, new)


def _left(model: nn.Module, refused: Mapping[nn.Module, str]) -> Iterator[Left]:
    """Yield what drops in a model and is not mapdrop's."""
    calls = {kind: functional_drops(kind) for kind in {type(m) for m in model.modules()}}
    for name, module in model.named_modules():
        if isinstance(module, Drop):
            continue
        if is_drop_layer(module):
            yield Left(name, repr(module), refused.get(module, "no key fits it"))
            continue
        if drops_inside(module) and rate_of(module):
            what = f"{class_name(module)} with dropout={rate_of(module)}"
            yield Left(name, what, "it drops inside PyTorch's own code")
        for call in calls[type(module)]:
            yield Left(name, call, "it is a function, not a layer")


def _kinds(model: nn.Module) -> str:
    kinds = dict.fromkeys(class_name(m) for m in model.modules() if is_drop_layer(m))
    return f"these drop layers: {', '.join(kinds)}" if kinds else "no drop layers"


def _texts(keys: Iterable[Key]) -> str:
    return ", ".join(sorted(repr(k) if isinstance(k, str) else k.__name__ for k in keys))
