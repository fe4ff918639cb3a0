"""Models that do more than call layers in a row have the dense results, captured or not."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

import mapdrop as md
from mapdrop.torch import compact
from mapdrop.torch.graph.capture import Subgraph
from mapdrop.torch.graph.graph import Graph
from tests.torch.compact.agreement import ALWAYS, check, forced, line, outcome, pixels, skips

C = 32
IMAGE = pixels(2, 3, 6, 6)


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b = nn.Conv2d(3, C, 3, padding=1), nn.Conv2d(C, C, 3, padding=1)
        self.c = nn.Conv2d(C, 2, 1)
        self.drop, self.other = nn.Dropout2d(0.5), nn.Dropout2d(0.4)
        self.norm, self.relu = nn.BatchNorm2d(C), nn.ReLU(inplace=True)
        self.deep = True
        self.calls = 0
        self.scale = 2.0


Body = Callable[[Any, Tensor], Tensor]


def model(body: Body) -> nn.Module:
    """Return a model with that forward."""

    class Model(Base):
        def forward(self, x: Tensor) -> Tensor:
            return body(self, x)

    return Model().double()


def plain(m: Any, x: Tensor) -> Tensor:
    y: Tensor = m.c(m.drop(m.b(m.drop(m.a(x)).relu())))
    return y


def by_shape(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    y = m.b(y) if x.shape[0] > 2 else y
    return m.c(y)  # type: ignore[no-any-return]


def by_value(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    return m.c(y if x.sum() > 0 else -y)  # type: ignore[no-any-return]


def by_kind(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    return m.c(y) if isinstance(x, Tensor) else y  # type: ignore[no-any-return]


def by_mode(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    return m.c(m.b(y) if m.training else y)  # type: ignore[no-any-return]


def by_gradient(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    return m.c(y * 3.0 if x.requires_grad else y)  # type: ignore[no-any-return]


def loop(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    for _ in range(3):
        y = y + m.drop(m.b(y))
    return m.c(y)  # type: ignore[no-any-return]


def plain_random(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    return m.c(m.b(y) if torch.rand(1).item() < 0.5 else y)  # type: ignore[no-any-return]


def plain_noise(m: Any, x: Tensor) -> Tensor:
    return m.c(m.drop(m.a(x)) * torch.randn(1, C, 1, 1, dtype=x.dtype))  # type: ignore[no-any-return]


def noise_like(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    return m.c(m.drop(m.b(y + torch.randn_like(y))))  # type: ignore[no-any-return]


def dropout_of_values_between(m: Any, x: Tensor) -> Tensor:
    y = F.dropout(m.drop(m.a(x)), 0.3, m.training)
    return m.c(F.dropout(m.other(m.b(y)), 0.3))  # type: ignore[no-any-return]


def functional_drop(m: Any, x: Tensor) -> Tensor:
    return m.c(F.dropout2d(m.b(F.dropout2d(m.a(x), 0.5, m.training)), p=0.3))  # type: ignore[no-any-return]


def functional_drop_in_place(m: Any, x: Tensor) -> Tensor:
    return m.c(F.dropout2d(m.a(x), 0.5, True, True))  # type: ignore[no-any-return]


def power(m: Any, x: Tensor) -> Tensor:
    return m.c(m.drop(torch.pow(m.a(x), 2)))  # type: ignore[no-any-return]


def in_place_layer(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    z = m.relu(y)
    return m.c(m.drop(y) + z)  # type: ignore[no-any-return]


def in_place_method(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    y.add_(1.0)
    return m.c(y)  # type: ignore[no-any-return]


def in_place_later(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    z = y * 2.0
    y += z
    return m.c(m.drop(y))  # type: ignore[no-any-return]


def in_place_view(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x)) * 1.0
    first = y[:, :4]
    first.add_(1.0)
    return m.c(y)  # type: ignore[no-any-return]


def in_place_of_a_part(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x)) * 1.0
    y[:, 0] = 3.0
    return m.c(y)  # type: ignore[no-any-return]


def in_place_through_identity(m: Any, x: Tensor) -> Tensor:
    y = m.a(x) * 1.0
    same = y.view(y.shape)
    same.mul_(2.0)
    return m.c(m.drop(y))  # type: ignore[no-any-return]


def in_place_two_names(m: Any, x: Tensor) -> Tensor:
    y = m.a(x) * 1.0
    z = y.contiguous()
    z += 1.0
    return m.c(m.drop(y))  # type: ignore[no-any-return]


def in_place_on_an_identity_drop(m: Any, x: Tensor) -> Tensor:
    y = m.a(x) * 1.0
    z = F.dropout2d(y, 0.5, False)
    z += 1.0
    return m.c(m.drop(y))  # type: ignore[no-any-return]


def in_place_after_a_drop_of_what_is_read_again(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    z = F.leaky_relu(m.drop(y), 0.1, True)
    return m.c(m.other(y * z))  # type: ignore[no-any-return]


def twice_the_same_layer(m: Any, x: Tensor) -> Tensor:
    return m.c(m.drop(m.b(m.drop(m.b(m.drop(m.a(x)))))))  # type: ignore[no-any-return]


def unused(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    m.other(m.b(y))
    return m.c(y)  # type: ignore[no-any-return]


def without_gradient(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    with torch.no_grad():
        z = m.b(y)
    return m.c(m.drop(y + z))  # type: ignore[no-any-return]


def without_gradient_or_bias(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    with torch.no_grad():
        z = F.conv2d(y, m.b.weight, None, padding=1)
    return m.c(m.drop(F.conv2d(y + z, m.b.weight, None, padding=1)))  # type: ignore[no-any-return]


def in_another_type(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    with torch.autocast("cpu", torch.bfloat16):
        z = m.drop(m.b(y.float()) if y.dtype == torch.float32 else m.b(y))
    return m.c(m.drop(m.b(y * 2.0)) + z.to(y.dtype))  # type: ignore[no-any-return]


def detached(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    return m.c(m.drop(m.b(y.detach()) + y))  # type: ignore[no-any-return]


def checkpointed(m: Any, x: Tensor) -> Tensor:
    from torch.utils.checkpoint import checkpoint

    y = m.drop(m.a(x))
    return m.c(m.drop(checkpoint(m.b, y, use_reentrant=False)))  # type: ignore[no-any-return]


def by_kind_of_scripts(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    return m.c(m.b(y) if torch.jit.isinstance(y, Tensor) else y)  # type: ignore[no-any-return]


def by_kind_of_lists(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    return m.c(m.b(y) if torch.jit.isinstance([y], list[Tensor]) else y)  # type: ignore[no-any-return]


def own_tensor(m: Any, x: Tensor) -> Tensor:
    return m.c(m.drop(m.a(x)) + torch.ones(1, C, 1, 1, dtype=torch.float64))  # type: ignore[no-any-return]


def squared_constructor(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    return m.c(y * torch.as_tensor(y.detach()).sign())  # type: ignore[no-any-return]


def normalised(m: Any, x: Tensor) -> Tensor:
    return m.c(m.drop(m.norm(m.b(m.drop(m.a(x))))))  # type: ignore[no-any-return]


def drop_path_of_timm(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    mask = y.new_empty((y.shape[0], 1, 1, 1)).bernoulli_(0.8)
    mask.div_(0.8)
    return m.c(m.drop(m.b(y) * mask))  # type: ignore[no-any-return]


def scaled_residual(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    result = m.drop(m.b(y))
    result += y
    return m.c(m.drop(result))  # type: ignore[no-any-return]


def any_arguments(m: Any, x: Tensor, *more: Tensor, **options: Any) -> Tensor:
    return m.c(m.drop(m.a(x)))  # type: ignore[no-any-return]


CRASHES = (power, squared_constructor)  # What may end the interpreter runs in another one.
BODIES: list[Body] = [
    plain,
    by_shape,
    by_value,
    by_kind,
    by_mode,
    by_gradient,
    loop,
    plain_random,
    plain_noise,
    noise_like,
    dropout_of_values_between,
    functional_drop,
    functional_drop_in_place,
    in_place_layer,
    in_place_method,
    in_place_later,
    in_place_view,
    in_place_of_a_part,
    in_place_through_identity,
    in_place_two_names,
    in_place_on_an_identity_drop,
    in_place_after_a_drop_of_what_is_read_again,
    twice_the_same_layer,
    unused,
    without_gradient,
    without_gradient_or_bias,
    in_another_type,
    detached,
    checkpointed,
    by_kind_of_scripts,
    by_kind_of_lists,
    own_tensor,
    normalised,
    drop_path_of_timm,
    scaled_residual,
    any_arguments,
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_models_of_many_kinds_are_the_dense_ones(body: Body) -> None:
    net = model(body)
    fast = forced(net)
    for seed in range(4):
        check(net, fast, (IMAGE,), seed)


@pytest.mark.subprocess
def test_functions_that_look_into_a_tensor_do_not_crash() -> None:
    code = (
        "from tests.torch.graph import test_capture as t\n"
        "for body in t.CRASHES:\n"
        "    print(body.__name__, flush=True)\n"
        "    net = t.model(body)\n"
        "    t.check(net, t.forced(net), (t.IMAGE,))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    # The last name that it printed is that of a function that ended it.
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == [body.__name__ for body in CRASHES]


FOLLOWED: list[Body] = [
    plain,
    without_gradient_or_bias,
    in_another_type,
    checkpointed,
    by_kind_of_scripts,
    loop,
    normalised,
    functional_drop,
    by_mode,
    by_kind,
    by_gradient,
    drop_path_of_timm,
    scaled_residual,
    any_arguments,
    own_tensor,
    noise_like,
]


@pytest.mark.parametrize("body", FOLLOWED, ids=lambda body: body.__name__)
def test_models_that_can_be_followed_do_skip(body: Body) -> None:
    fast = forced(model(body))
    fast(IMAGE)
    assert skips(fast)


@pytest.mark.parametrize("samples", [0, 1, 2, 3])
def test_control_flow_by_the_size_of_the_batch(samples: int) -> None:
    net = model(by_shape)
    fast = forced(net)
    check(net, fast, (IMAGE,))
    check(net, fast, (pixels(samples, 3, 6, 6),))


@pytest.mark.parametrize("samples", [0, 1])
def test_small_batches_of_a_model_that_can_be_followed(samples: int) -> None:
    net = model(plain)
    check(net, forced(net), (pixels(samples, 3, 6, 6),))


def test_any_number_of_arguments() -> None:
    class Model(Base):
        def forward(self, *x: Tensor, **more: Tensor) -> Tensor:
            return plain(self, sum(x) + more.get("shift", 0.0))  # type: ignore[arg-type]

    net = Model().double()
    check(net, forced(net), (IMAGE, IMAGE + 1))


def test_arguments_that_are_no_tensors() -> None:
    class Model(Base):
        def forward(self, x: Tensor, times: int = 1, gate: Tensor | None = None) -> Tensor:
            y = plain(self, x * times)
            return y if gate is None else y * gate

    net = Model().double()
    fast = forced(net)
    results = []
    for given in ({"times": 2}, {"times": 3}, {"gate": IMAGE[:, :1]}, {}):
        pair = []
        for each in (net, fast):
            torch.manual_seed(0)
            pair.append(each(IMAGE, **given))
        torch.testing.assert_close(pair[1], pair[0], rtol=1e-10, atol=1e-10)
        results.append(pair[0])
    assert not torch.equal(results[0], results[1])


Change = Callable[[Any], object]
CHANGES: dict[str, Change] = {
    "p of a drop": lambda m: setattr(m.drop, "p", 0.2),
    "p of a drop to 0": lambda m: setattr(m.drop, "p", 0.0),
    "p of a drop to 1": lambda m: setattr(m.drop, "p", 1.0),
    "a drop in eval mode": lambda m: m.drop.eval(),
    "a norm in eval mode": lambda m: m.norm.eval(),
    "a layer replaced": lambda m: setattr(m, "b", nn.Conv2d(C, C, 1).double()),
    "a drop replaced by a layer": lambda m: setattr(m, "drop", nn.Sigmoid()),
    "weights loaded": lambda m: m.load_state_dict({k: v + 1 for k, v in m.state_dict().items()}),
    "a parameter replaced": lambda m: setattr(m.b, "weight", nn.Parameter(m.b.weight + 1)),
    "a parameter frozen": lambda m: m.b.weight.requires_grad_(False),
    "no bias any more": lambda m: setattr(m.b, "bias", None),
    "a convolution's padding": lambda m: setattr(m.b, "padding", (0, 0)),
    "a flag of the model": lambda m: setattr(m, "deep", False),
    "a number of the model": lambda m: setattr(m, "scale", 5.0),
    "a hook": lambda m: m.b.register_forward_hook(lambda module, given, y: y * 2),
}


def changing(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x)) * m.scale
    y = m.drop(m.norm(m.b(y))) if m.deep else y
    return m.c(y)  # type: ignore[no-any-return]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_changed_after_the_first_call_counts(change: Change) -> None:
    net = model(changing)
    fast = forced(net)
    check(net, fast, (IMAGE,))
    before = outcome(net, (IMAGE,), 0)
    change(net)
    check(net, fast, (IMAGE,))
    after = outcome(net, (IMAGE,), 0)
    frozen = not net.b.weight.requires_grad  # type: ignore[union-attr]
    assert frozen or not torch.equal(before["output"], after["output"])


def test_in_place_layers_keep_up_with_their_settings() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, C, 1), nn.LeakyReLU(0.1, True), nn.Dropout2d(0.5), nn.Conv2d(C, 2, 1)
    )
    fast = forced(net)
    check(net, fast, (IMAGE,))
    net[1].negative_slope = 0.7  # type: ignore[assignment]
    check(net, fast, (IMAGE,))


def test_a_forward_that_counts_its_calls() -> None:
    def counting(m: Any, x: Tensor) -> Tensor:
        m.calls += 1
        y = m.drop(m.a(x))
        return m.c(y * 2.0 if m.calls > 2 else y)  # type: ignore[no-any-return]

    net, fast = model(counting), forced(model(counting))
    for _ in range(4):
        found = [outcome(each, (IMAGE,), 0)["output"] for each in (net, fast)]
        torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-10)


def test_random_numbers_of_python() -> None:
    def skipping(m: Any, x: Tensor) -> Tensor:
        y = m.drop(m.a(x))
        return m.c(m.b(y) if random.random() < 0.5 else y)  # type: ignore[no-any-return]

    net = model(skipping)
    fast = forced(net)
    found: list[list[Tensor]] = []
    for each in (net, fast):
        random.seed(3)
        found.append([outcome(each, (IMAGE,), seed)["output"] for seed in range(8)])
    for have, want in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(have, want, rtol=1e-10, atol=1e-10)


def by_a_number_of_another_type(m: Any, x: Tensor) -> Tensor:
    return m.c(m.drop(m.a(x) * x.double().mean()))  # type: ignore[no-any-return]


def in_place_with_another_type(m: Any, x: Tensor) -> Tensor:
    y = m.drop(m.a(x))
    y += torch.ones(2, C, 6, 6, dtype=torch.float64)
    return m.c(m.drop(y))  # type: ignore[no-any-return]


def written_by_a_keyword(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        torch.add(m.norm.running_mean, 1, out=m.norm.running_mean)
    return m.c(m.drop(m.a(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "body", [by_a_number_of_another_type, in_place_with_another_type, written_by_a_keyword]
)
def test_types_and_keywords_are_those_of_the_model(body: Body) -> None:
    nets: list[Any] = [model(body).float() for _ in range(2)]
    fast: Any = compact(nets[1], ALWAYS)
    found = []
    for net in (nets[0], fast):
        torch.manual_seed(0)
        found.append([net(IMAGE.float()), net.norm.running_mean])
    assert found[0][0].dtype is found[1][0].dtype is torch.float32
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)
    assert skips(fast)


def test_a_seed_that_counts_on_before_backward() -> None:
    class Counting(Base):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros((), dtype=torch.int64))

        def forward(self, x: Tensor) -> Tensor:
            count: Any = self.count
            y = md.drop(self.a(x), "b c h w -> b c", 0.5, seed=count)
            count.add_(1)
            z = md.drop(self.b(y), "b c h w -> b c", 0.5, seed=count)
            count.add_(1)
            return self.c(self.drop(z))  # type: ignore[no-any-return]

    net, other = Counting().double(), Counting().double()
    fast = forced(other)
    for seed in range(3):
        check(net, fast, (IMAGE,), seed)
    assert net.count == other.count == 6


def test_random_numbers_of_numpy() -> None:
    def scaled(m: Any, x: Tensor) -> Tensor:
        return m.c(m.drop(m.a(x))) * np.random.rand()  # type: ignore[no-any-return]

    net = model(scaled)
    fast = forced(net)
    found: list[list[Tensor]] = []
    for each in (net, fast):
        np.random.seed(3)
        found.append([outcome(each, (IMAGE,), seed)["output"] for seed in range(4)])
    for have, want in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(have, want, rtol=1e-10, atol=1e-10)


def test_an_error_of_the_model_is_its_own() -> None:
    net = model(plain)
    fast = forced(net)
    wrong = pixels(2, 4, 6, 6)
    for each in (net, fast):
        with pytest.raises(RuntimeError, match="to have 3 channels, but got 4") as caught:
            each(wrong)
        assert type(caught.value) is RuntimeError
    check(net, fast, (IMAGE,))
    assert skips(fast)


def test_a_model_that_is_no_longer_used_is_freed() -> None:
    net = model(plain)
    fast = forced(net)
    fast(IMAGE).sum().backward()
    weight = ref(next(net.parameters()))
    del net, fast
    gc.collect()
    assert weight() is None


def test_following_a_model_leaves_nothing_in_it() -> None:
    fast = forced(model(own_tensor))
    before = set(vars(fast))
    fast(IMAGE)
    assert set(vars(fast)) == before


@pytest.mark.parametrize("name", ["a", "b", "drop", "norm", "c"])
def test_a_hook_sees_whole_dense_values(name: str) -> None:
    net = model(changing)
    seen: list[tuple[Tensor, Tensor]] = []
    net.get_submodule(name).register_forward_hook(
        lambda module, given, y: seen.append((given[0].detach().clone(), y.detach().clone()))
    )
    fast = forced(net)
    check(net, fast, (IMAGE,))
    dense, compact = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len(dense) == len(compact) == (2 if name == "drop" else 1), "called beside the steps"
    for want, have in zip(dense, compact, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["b", "drop", "norm"])
@pytest.mark.parametrize("kind", ["forward_pre", "full_backward", "full_backward_pre"])
def test_other_hooks_are_called(kind: str, name: str) -> None:
    net = model(changing)
    called: list[str] = []
    getattr(net.get_submodule(name), f"register_{kind}_hook")(lambda *given: called.append(name))
    fast = forced(net)
    outcome(net, (IMAGE,), 0)
    dense = len(called)
    outcome(fast, (IMAGE,), 0)
    assert len(called) == 2 * dense > 0


def test_a_hook_on_a_block_with_drops_inside() -> None:
    block = nn.Sequential(nn.Conv2d(C, C, 1), nn.Dropout2d(0.5), nn.Conv2d(C, C, 1))
    block.register_forward_hook(lambda module, given, y: y + 1)
    net = nn.Sequential(
        nn.Conv2d(3, C, 1), nn.Dropout2d(0.5), block, nn.Dropout2d(0.4), nn.Conv2d(C, 2, 1)
    )
    fast = forced(net)
    check(net, fast, (IMAGE,))
    assert line(fast, "0").makes < 1


def test_eval_mode_is_the_model() -> None:
    net = model(plain).eval()
    assert torch.equal(forced(net)(IMAGE), net(IMAGE))


def test_a_subclass_of_a_layer_with_its_own_forward_is_not_mistaken_for_it() -> None:
    class Turned(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).flip(1)

    net = nn.Sequential(nn.Conv2d(3, C, 1), nn.Dropout2d(0.5), Turned(C, C, 1), nn.Dropout2d(0.5))
    check(net.double(), forced(net), (IMAGE,))


def test_an_error_of_mapdrop_is_no_error_of_the_model() -> None:
    def make(graph: Graph, inputs: Sequence[Any]) -> str:
        raise AssertionError("a fault")

    ran: list[Any] = []
    subgraph: Any = Subgraph(fx.symbolic_trace(lambda x: (x + 1,)), make, ran.append)
    with pytest.warns(RuntimeWarning, match=r"own error.*a fault.*please report"):
        assert torch.equal(subgraph(torch.zeros(2))[0], torch.ones(2))
    assert "a fault" in ran[0]


def test_what_was_made_for_old_shapes_is_dropped() -> None:
    class Noted:
        def run(self, inputs: list[Any]) -> tuple[Any, ...]:
            return (inputs[0] + 1,)

    module = fx.symbolic_trace(lambda x: (x + 1,))
    made: list[Noted] = []

    def make(graph: Graph, inputs: Sequence[Any]) -> Noted:
        made.append(Noted())
        return made[-1]

    ran: list[Any] = []
    subgraph = Subgraph(module, make, ran.append)
    for size in (*range(1, 66), 65, 1):  # One more than are kept; the oldest is made again.
        assert torch.equal(subgraph(torch.zeros(size))[0], torch.ones(size))
    assert len(made) == 66
    assert ran == [*made[:65], made[64], made[65]]
