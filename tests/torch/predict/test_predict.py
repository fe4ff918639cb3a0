"""predict() equals the plain loop: a model with its drops on, seeded before each pass."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

import mapdrop as md
from mapdrop.torch import Prediction, predict
from tests.torch.compact.agreement import ALWAYS, pixels

CLOSE: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
C = 8
IMAGE = pixels(3, 3, 8, 8)


class Net(nn.Module):
    """A stem, something that drops, and a head."""

    def __init__(self, middle: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem, self.norm = nn.Conv2d(3, C, 3, padding=1), nn.BatchNorm2d(C)
        self.middle = nn.Dropout2d(0.5) if middle is None else middle
        self.conv, self.after = nn.Conv2d(C, C, 3, padding=1), nn.BatchNorm2d(C)
        self.head = nn.Linear(C, 4)
        self.norm.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
        self.double()

    def forward(self, x: Tensor) -> Any:
        x = self.middle(F.relu(self.norm(self.stem(x))))
        return self.head(F.relu(self.after(self.conv(x)), inplace=True).mean((2, 3)))


class Residual(Net):
    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.norm(self.stem(x)))
        x = x + self.middle(F.gelu(self.conv(x)))
        x = x + self.middle(F.gelu(self.conv(x)))
        return self.head(x.mean((2, 3)))


class Inside(Net):
    """Dropout by single values inside a branch that drops whole samples."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__(middle)
        self.path = md.torch.DropPath(0.4)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.norm(self.stem(x)))
        return self.head((x + self.path(self.middle(F.gelu(self.conv(x))))).mean((2, 3)))


def drop(pattern: str, p: float = 0.5, **options: Any) -> nn.Module:
    return md.torch.Drop(pattern, p, **options)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "Dropout": lambda: nn.Dropout(0.5),
    "in place": lambda: nn.Dropout(0.5, inplace=True),
    "Dropout2d": lambda: nn.Dropout2d(0.5),
    "AlphaDropout": lambda: nn.AlphaDropout(0.5),
    "FeatureAlphaDropout": lambda: nn.FeatureAlphaDropout(0.5),
    "mapdrop": lambda: md.torch.Dropout(0.5),
    "spatial": lambda: md.torch.SpatialDropout2d(0.5),
    "shared": lambda: md.torch.SpatialDropout2d(0.5, share=2),
    "balanced": lambda: md.torch.SpatialDropout2d(0.5, balance=True),
    "exact": lambda: drop("b c h w -> b c", exact="c"),
    "groups": lambda: drop("b (g k) h w -> b g", k=2),
    "whole batch": lambda: drop("b c h w -> c"),
    "counted": lambda: drop("b c h w -> b c", scale="sample"),
    "DropBlock": lambda: md.torch.DropBlock2d(0.3, 3),
    "DropPath": lambda: md.torch.DropPath(0.5),
    "balanced DropPath": lambda: md.torch.DropPath(0.5, balance=True),
}


def plain(
    net: nn.Module, x: Tensor, seeds: Iterable[int], on: Iterable[str], by_row: bool = False
) -> Tensor:
    """Return the outputs of a model in eval mode, but for some modules, seeded before each pass."""
    net = copy.deepcopy(net).eval()
    for name in on:
        net.get_submodule(name).train()
    rows = x.split(1) if by_row else (x,)

    def one(seed: int, row: Tensor) -> Tensor:
        torch.manual_seed(seed)
        result: Tensor = net(row)
        return result

    with torch.no_grad():
        return torch.stack([torch.cat([one(seed, row) for row in rows]) for seed in seeds])


def check(
    net: nn.Module, x: Tensor, on: Iterable[str] = ("middle",), samples: int = 5, **options: Any
) -> Prediction:
    """Check a prediction against the plain loop."""
    found = predict(net, x, samples, seed=3, keep_samples=True, **options)
    assert found.reason == ""
    want = plain(net, x, found.seeds, on, options.get("one_mask") == "batch")
    assert len(want.unique(dim=0)) > 1
    torch.testing.assert_close(found.samples, want, **CLOSE)
    torch.testing.assert_close(found.mean, want.mean(0), **CLOSE)
    torch.testing.assert_close(found.std, want.std(0), **CLOSE)
    return found


every = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
masks = pytest.mark.parametrize("one_mask", ["sample", "batch"])


@masks
@every
def test_every_layer_has_the_masks_of_the_plain_loop(
    make: Callable[[], nn.Module], one_mask: str
) -> None:
    check(Net(make()), IMAGE, one_mask=one_mask, costs=ALWAYS)


@masks
@every
def test_so_it_has_in_a_residual_branch(make: Callable[[], nn.Module], one_mask: str) -> None:
    check(Residual(make()), IMAGE, one_mask=one_mask, costs=ALWAYS)


@masks
@pytest.mark.parametrize("name", ["Dropout", "Dropout2d", "mapdrop", "spatial", "DropBlock"])
def test_dropout_inside_a_dropped_branch(name: str, one_mask: str) -> None:
    net, on = Inside(LAYERS[name]()), ("middle", "path")
    check(net, IMAGE, on, samples=8, one_mask=one_mask, costs=ALWAYS)


@masks
@pytest.mark.parametrize("chunk", [1, 2, 5, None])
def test_a_pass_does_not_depend_on_the_chunk(chunk: int | None, one_mask: str) -> None:
    check(Net(), IMAGE, chunk=chunk, one_mask=one_mask)


@masks
def test_a_batch_of_one(one_mask: str) -> None:
    check(Net(), IMAGE[:1], one_mask=one_mask, samples=3, chunk=2)


def test_channels_last_draws_in_the_order_of_the_memory() -> None:
    net: Any = Net(nn.Dropout(0.5))
    net.to(memory_format=torch.channels_last)
    check(net, IMAGE.to(memory_format=torch.channels_last), costs=ALWAYS)


def test_a_pass_is_a_function_of_the_seed_and_its_number() -> None:
    net = Net()
    few, many = (predict(net, IMAGE, n, seed=3, keep_samples=True).samples for n in (3, 7))
    torch.testing.assert_close(few, many[:3], **CLOSE)
    other = predict(net, IMAGE, 3, seed=4, keep_samples=True).samples
    assert not any(torch.equal(a, b) for a in few for b in other)


def test_without_a_seed_pytorchs_generator_decides() -> None:
    net, found = Net(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(predict(net, IMAGE, 3).mean)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(predict(net, IMAGE, 3).mean, predict(net, IMAGE, 3).mean)


def test_one_mask_for_a_batch_is_seen_by_all_its_samples() -> None:
    x = IMAGE[:1].expand(4, -1, -1, -1)
    found = predict(Net(), x, 5, one_mask="batch", keep_samples=True).samples
    torch.testing.assert_close(found, found[:, :1].expand_as(found), **CLOSE)
    assert len(found[:, 0].unique(dim=0)) == 5
    own = predict(Net(), x, 5, one_mask="sample", keep_samples=True).samples
    assert len(own.flatten(0, 1).unique(dim=0)) == 20


# --- What runs.


def test_what_no_drop_leads_to_is_computed_once() -> None:
    calls: list[tuple[str, int]] = []

    class Counted(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()

            def count(x: Tensor) -> Tensor:
                if type(x) is Tensor:  # The compiler tries it with tensors of its own.
                    calls.append((name, x.shape[0]))
                return x * 1

            self.count = torch.compiler.allow_in_graph(count)

        def forward(self, x: Tensor) -> Any:
            return self.count(x)

    net = nn.Sequential(Counted("stem"), Net(), Counted("head")).double()
    predict(net, IMAGE, 2, chunk=2)
    calls.clear()
    predict(net, IMAGE, 6, chunk=2)
    assert calls.count(("stem", 3)) == 1
    assert [c for c in calls if c[0] == "stem"] == [("stem", 3)]
    assert len([c for c in calls if c[0] == "head"]) > 1


def test_memory_decides_how_many_passes_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from mapdrop.torch.predict import passes
    from mapdrop.torch.predict.side_by_side import SideBySide

    seen: list[int] = []
    run = SideBySide._several

    def watched(self: Any, seeds: Any) -> Any:
        seen.append(len(seeds))
        return run(self, seeds)

    monkeypatch.setattr(SideBySide, "_several", watched)
    predict(Net(), IMAGE, 7)
    monkeypatch.setattr(passes, "CHUNK", 8 * 3 * C * 64 * 8)
    predict(Net(), IMAGE, 7)
    assert seen[0] == 6  # The first pass runs while the model is read.
    assert 1 < len(seen[1:]) < 6
    assert sum(seen[1:]) == 6


class Functional(Net):
    def forward(self, x: Tensor) -> Any:
        x = F.dropout2d(F.relu(self.norm(self.stem(x))), 0.5, self.training)
        x = self.head(F.dropout(x.mean((2, 3)), training=self.training))
        return F.dropout(x, 0.0, self.training)


@masks
def test_dropout_that_is_called_as_a_function_is_on(one_mask: str) -> None:
    net = Functional()
    found = predict(net, IMAGE, 5, one_mask=one_mask, keep_samples=True)
    net.train()
    for module in net.children():
        module.eval()
    with torch.no_grad():
        want = []
        for seed in found.seeds:
            outputs = []
            for row in IMAGE.split(1 if one_mask == "batch" else 3):
                torch.manual_seed(seed)
                outputs.append(net(row))
            want.append(torch.cat(outputs))
    torch.testing.assert_close(found.samples, torch.stack(want), **CLOSE)


class Breaks(Net):
    """A model that the compiler cannot capture as one graph."""

    def forward(self, x: Tensor) -> Any:
        scale = float(x.detach().abs().max().item()) * 0 + 1
        return super().forward(x) * (scale if scale > 0 else -1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.middle = nn.LSTM(8, 6, 2, dropout=0.5, batch_first=True)
        self.double()

    def forward(self, x: Tensor) -> Any:
        return self.middle(x.mean(3))[0]


@masks
@pytest.mark.parametrize("make", [Breaks, Recurrent])
def test_what_cannot_be_captured_runs_as_it_is(make: type[nn.Module], one_mask: str) -> None:
    net = make()
    found = predict(net, IMAGE, 3, one_mask=one_mask, keep_samples=True)
    assert found.reason
    want = plain(net, IMAGE, found.seeds, ["middle"], one_mask == "batch")
    torch.testing.assert_close(found.samples, want, **CLOSE)
    assert len(want.unique(dim=0)) == 3


def test_functions_are_on_there_too() -> None:
    class Both(Functional):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x) * float(x.abs().max().item() > -1)

    found = predict(Both(), IMAGE, 3, seed=1)
    same = predict(Functional(), IMAGE, 3, seed=1)
    assert found.reason
    assert not same.reason
    torch.testing.assert_close(found.mean, same.mean, **CLOSE)


@masks
def test_samples_that_meet_are_run_pass_by_pass(one_mask: str) -> None:
    class Meets(Net):
        def forward(self, x: Tensor) -> Any:
            y = super().forward(x)
            return y + y.mean(0)

    check(Meets(), IMAGE, one_mask=one_mask)


# --- What is left as it was.


def state(net: nn.Module) -> list[Any]:
    tensors = [value.clone() for value in net.state_dict().values() if isinstance(value, Tensor)]
    return [*tensors, *(m.training for m in net.modules()), torch.get_rng_state()]


def same(before: list[Any], after: list[Any]) -> bool:
    pairs = zip(before, after, strict=True)
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in pairs)


@pytest.mark.parametrize("make", [Net, Breaks], ids=["captured", "as it is"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_the_model_is_left_as_it_was(make: type[Net], training: bool) -> None:
    net = md.torch.seeded(make(md.torch.SpatialDropout2d(0.5)).train(training), 7)
    net.norm.train(not training)
    before = state(net)
    predict(net, IMAGE, 3, seed=1)
    assert same(before, state(net))
    assert net.middle.source is not None


def test_so_it_is_after_an_error() -> None:
    class Fails(Net):
        def forward(self, x: Tensor) -> Any:
            super().forward(x)
            raise RuntimeError("own error")

    net = Fails().train()
    before = state(net)
    with pytest.raises(RuntimeError, match="own error"):
        predict(net, IMAGE, 3, seed=1)
    assert same(before, state(net))


def test_a_seeded_model_trains_on_as_if_nothing_had_been() -> None:
    def trained(between: bool) -> Tensor:
        net = md.torch.seeded(Net(md.torch.SpatialDropout2d(0.5)).train(), 7)
        net(IMAGE)
        if between:
            predict(net, IMAGE, 3)
        result: Tensor = net(IMAGE)
        return result

    assert torch.equal(trained(True), trained(False))


def test_a_change_of_the_model_is_seen() -> None:
    net = Net()
    check(net, IMAGE)
    net.middle.p = 0.2  # type: ignore[assignment]
    check(net, IMAGE)
    net.middle = nn.Dropout(0.4)
    check(net, IMAGE)
    with torch.no_grad():
        net.head.weight.mul_(2)
    check(net, IMAGE)


def test_threads_take_turns() -> None:
    net, found = Net(), {}

    def run(seed: int) -> None:
        found[seed] = predict(net, IMAGE, 4, seed=seed).mean

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        assert torch.equal(found[seed], predict(net, IMAGE, 4, seed=seed).mean)


# --- What is returned.


def test_entropies_are_those_of_the_passes() -> None:
    found = predict(Net(), IMAGE, 9, seed=1, classes=1, keep_samples=True)
    each = found.samples.softmax(2)
    mean = each.mean(0)
    entropy = -(mean * mean.log()).sum(1)
    own = -(each * each.log()).sum(2).mean(0)
    torch.testing.assert_close(found.probabilities, mean, **CLOSE)
    torch.testing.assert_close(found.entropy, entropy, **CLOSE)
    torch.testing.assert_close(found.mutual_information, entropy - own, **CLOSE)
    assert found.mutual_information is not None
    assert bool((found.mutual_information > 0).all())


def test_outputs_keep_their_form() -> None:
    class Several(Net):
        def forward(self, x: Tensor, scale: float = 1.0) -> Any:
            y = super().forward(x) * scale
            return {"y": y, "pair": (y.float(), x), "number": 3, "none": None, "best": y.argmax(1)}

    net = Several()
    found = predict(net, {"x": IMAGE, "scale": 2.0}, 5, seed=1, keep_samples=True)
    assert not found.reason
    assert found.mean["number"] == 3
    assert found.mean["none"] is None
    assert torch.equal(found.mean["pair"][1], IMAGE)
    assert not found.std["pair"][1].any()
    want = found.samples["y"]
    torch.testing.assert_close(found.mean["y"], want.mean(0), **CLOSE)
    torch.testing.assert_close(found.std["pair"][0], want.float().std(0))
    torch.testing.assert_close(found.mean["best"], want.argmax(2).double().mean(0))
    alone = predict(net, (IMAGE, 2.0), 5, seed=1, output=lambda result: result["y"])
    torch.testing.assert_close(alone.mean, want.mean(0), **CLOSE)


def test_sixteen_bits_are_added_up_in_more() -> None:
    net = Net().to(torch.bfloat16)
    found = predict(net, IMAGE.bfloat16(), 20, seed=1, keep_samples=True)
    assert found.samples.dtype == torch.bfloat16
    assert found.mean.dtype == torch.float32
    torch.testing.assert_close(found.mean, found.samples.float().mean(0))
    torch.testing.assert_close(found.std, found.samples.float().std(0))


# --- What is refused.


@pytest.mark.parametrize("make", [nn.Identity, lambda: nn.Dropout(0.0)], ids=["none", "p = 0"])
def test_a_model_without_dropout_is_refused(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(ValueError, match="draws no random numbers"):
        predict(Net(make()), IMAGE)
    with pytest.raises(ValueError, match="draws no random numbers"):
        predict(Breaks(make()), IMAGE)


def test_a_drop_that_nothing_follows_from_is_refused() -> None:
    class Unused(Net):
        def forward(self, x: Tensor) -> Any:
            self.middle(x)
            return self.head(self.stem(x).mean((2, 3)))

    with pytest.raises(ValueError, match="draws no random numbers"):
        predict(Unused(), IMAGE)


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"samples": 1}, ValueError, "samples is a whole number from 2 on, not 1"),
        ({"samples": 2.0}, ValueError, "samples is a whole number from 2 on"),
        ({"chunk": 0}, ValueError, "chunk is a whole number from 1 on, not 0"),
        ({"one_mask": "row"}, ValueError, "one_mask is .* not 'row'"),
        ({"seed": -1}, ValueError, "seed is a whole number"),
        ({"classes": 2}, ValueError, r"classes is the axis .* not 2 of .*shape \(3, 4\)"),
        ({"inputs": 3}, TypeError, "inputs are a tensor.* not int"),
        ({"inputs": (3,)}, ValueError, "no tensor with a batch"),
        ({"model": F.relu}, TypeError, "predict takes a torch.nn.Module, not function"),
        ({"output": lambda y: [y, object()]}, TypeError, "returns a object.* give output="),
    ],
)
def test_other_arguments_are_refused(change: dict[str, Any], kind: type, text: str) -> None:
    arguments: dict[str, Any] = {"model": Net(), "inputs": IMAGE, "samples": 3} | change
    with pytest.raises(kind, match=text):
        predict(**arguments)
