"""What mapdrop does without a part of PyTorch's: `python -m tests.backends.torch.without`.

Each part is taken away while mapdrop's files for PyTorch are imported, in a forked process, and
given back for PyTorch's own use. What knows nothing of PyTorch is loaded once, before the fork.
Prints a JSON object: for each part, what each check found; "same" is what it should find.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
import torch._dynamo  # It needs what is taken away, and mapdrop may import it.
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import mapdrop
from tests import checks
from tests.cases import EXACT, INDEPENDENT

Check = Callable[[], str]
X = torch.randn(6, 8, 7, 5, generator=torch.Generator().manual_seed(0))
MAPS = "b c h w -> b c"
SEED = 2**63 + 5


# --- Checks. Each imports mapdrop's files for PyTorch itself, when the part is gone.


def drop() -> str:
    for case in (INDEPENDENT[0], EXACT[0]):
        checks.check_drop(mapdrop.drop, torch.from_numpy, Tensor.numpy, case)
    return "same"


def masked() -> Tensor:
    """X dropped, by NumPy."""
    return torch.from_numpy(mapdrop.drop(X.numpy(), MAPS, 0.5, seed=SEED))


def dropped(x: Tensor, **options: Any) -> Tensor:
    made: Tensor = mapdrop.drop(x, MAPS, 0.5, **{"seed": SEED, **options})
    return made


def same(*pairs: Any) -> str:
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    return "same"


def fresh() -> str:
    torch.manual_seed(3)
    made = dropped(X, seed=None)
    torch.manual_seed(3)
    number = int(torch.randint(-(2**63), 2**63 - 1, (1,)))
    return same((made, dropped(X, seed=number % 2**64)))


def gradient() -> str:
    x = X.clone().requires_grad_()
    (first,) = torch.autograd.grad((dropped(x) * X).sum(), x)
    (second,) = torch.autograd.grad((dropped(x * 1, inplace=True) * X).sum(), x)
    return same((first, masked()), (second, masked()))


def transforms() -> str:
    seeds = torch.tensor([1, 2])
    together = torch.func.vmap(lambda seed: dropped(X, seed=seed))(seeds)
    each = torch.func.vmap(torch.func.grad(lambda x: (dropped(x[None]) * x).sum()))(X)
    apart = torch.stack([2 * dropped(x[None])[0] for x in X])
    return same((together[0], dropped(X, seed=1)), (together[1], dropped(X, seed=2)), (each, apart))


def forward_mode() -> str:
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(X, X)
        tangent = torch.autograd.forward_ad.unpack_dual(dropped(dual)).tangent
    return same((tangent, masked()))


def modes() -> str:
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = make_fx(dropped)(X)
    assert "mapdrop.drop" in graph.code, graph.code
    return same((graph(X), masked()))


def traced() -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.jit.trace(dropped, (X,))
    assert "mapdrop::drop" in str(made.inlined_graph), made.inlined_graph
    return same((made(2 * X), 2 * masked()))


def seeded() -> str:
    import mapdrop.torch as md

    found = []
    for reentrant in (None, False, True):
        layer = md.seeded(nn.Sequential(md.SpatialDropout2d(0.5), nn.Tanh()), 7)
        x = X.clone().requires_grad_()
        calls = [
            layer(x) if reentrant is None else checkpoint(layer, x, use_reentrant=reentrant)
            for _ in range(3)
        ]
        torch.stack(calls).mul(X).sum().backward()
        found.append(x.grad)
    return same((found[1], found[0]), (found[2], found[0]))


def sharded() -> str:
    import mapdrop.torch as md

    half, whole = X[3:].clone().requires_grad_(), X.clone().requires_grad_()
    with md.shard(0, 1, 2):
        y = checkpoint(lambda x: dropped(x).tanh(), half, use_reentrant=False)
        (found,) = torch.autograd.grad(y.sum(), half)
    (wanted,) = torch.autograd.grad(dropped(whole).tanh().sum(), whole)
    return same((y, dropped(X)[3:].tanh()), (found, wanted[3:]))


def audited() -> str:
    import mapdrop.torch as md

    found = md.audit(nn.Sequential(nn.Linear(5, 5), md.Dropout(0.5)), X)
    assert [(drop.name, drop.p) for drop in found.drops] == [("1", 0.5)]
    return "same"


def compact() -> str:
    from mapdrop.torch.compact import Costs

    return _compact(nn.Dropout2d(0.5), Costs(), lambda net: net)


def compact_compiled() -> str:
    import mapdrop.torch as md
    from mapdrop.torch.compact import Costs

    layer = md.Drop(MAPS, 0.5, exact="c")
    return _compact(layer, Costs(), lambda net: torch.compile(net, backend="aot_eager"))


def compact_checkpointed() -> str:
    """A model that compact can take no part of: its report does not matter."""
    from mapdrop.torch.compact import Costs

    _compact(nn.Dropout2d(0.5), Costs(), lambda net: net, Checkpointed)
    return "same"


class Checkpointed(nn.Sequential):
    def forward(self, x: Tensor) -> Any:
        return checkpoint(super().forward, x, use_reentrant=False)


def _compact(
    layer: nn.Module,
    costs: Any,
    compiled: Callable[[nn.Module], Any],
    kind: type[nn.Sequential] = nn.Sequential,
) -> str:
    """The report where it skips nothing."""
    import mapdrop.torch as md

    model = kind(nn.Conv2d(8, 64, 3), layer, nn.Conv2d(64, 64, 3))
    fast = md.compact(model, costs)
    x = X.repeat(1, 1, 4, 4)
    made = []
    for net in (model, compiled(fast)):
        torch.manual_seed(1)
        y = net(x)
        made.append([y, *torch.autograd.grad(y.square().mean(), list(model.parameters()))])
    same(made)
    report = str(md.compact_report(fast))
    return report if "nothing is skipped" in report else "same"


def compiled() -> str:
    """With the warnings, if any."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = torch.compile(lambda x: dropped(x.relu()), fullgraph=True)(X)
        twice = torch.compile(lambda x: dropped(x.sin()), fullgraph=True)(X)
    same((made, masked().relu()), (twice, dropped(X.sin())))
    told = [str(w.message) for w in caught if "mapdrop" in str(w.message)]
    return "\n".join(told) or "same"


EAGER = (drop, fresh, gradient, transforms, forward_mode, modes, traced, seeded, sharded, compact)
COMPACT = (drop, compact)
COMPILED = (compiled, compact_compiled, compact_checkpointed)


# --- Parts, and how to take them away.


@contextmanager
def replaced(path: str, *stand_in: Any) -> Iterator[None]:
    """Take what has that name away, or put something else in its place."""
    module, _, name = path.rpartition(".")
    owner: Any = torch
    for part in module.split(".")[1:]:
        owner = getattr(owner, part)
    before = getattr(owner, name)
    if stand_in:
        setattr(owner, name, stand_in[0])
    else:
        delattr(owner, name)
    yield
    setattr(owner, name, before)


@contextmanager
def no_module(name: str) -> Iterator[None]:
    before = sys.modules[name]
    sys.modules[name] = None  # type: ignore[assignment]
    yield
    sys.modules[name] = before


@contextmanager
def for_good(path: str, *stand_in: Any) -> Iterator[None]:
    """The same for what is looked up late, and what PyTorch itself needs no more."""
    importlib.import_module(path.rpartition(".")[0])
    replaced(path, *stand_in).__enter__()
    yield


@contextmanager
def uncached_table() -> Iterator[None]:
    from torch._inductor import decomposition

    table: Any = decomposition.fast_random_decomps
    decomposition.fast_random_decomps = lambda: table.__wrapped__()  # type: ignore[assignment]
    yield


@contextmanager
def internal(name: str, stand_in: Any) -> Iterator[None]:
    """Put something in a part's place where PyTorch's compiler cannot do without it."""
    from mapdrop.backends.torch import _internals

    setattr(_internals, name, stand_in)
    yield


@contextmanager
def all_of(*parts: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for part in parts:
            stack.enter_context(part)
        yield


C, MODULE = "torch._C.", "torch.nn.Module."
TABLE = "torch._inductor.decomposition.register_decomposition"
PARTS: dict[str, tuple[Any, tuple[Check, ...]]] = {
    "nothing": (nullcontext(), (*EAGER, *COMPILED, audited)),
    "_is_tracing": (replaced(C + "_is_tracing"), EAGER),
    "torch.jit": (
        all_of(replaced(C + "_is_tracing"), replaced("torch.jit.is_tracing")),
        tuple(check for check in EAGER if check is not traced),
    ),
    "_current_level": (replaced("torch.autograd.forward_ad._current_level"), EAGER),
    "register_decomposition": (for_good(TABLE), (drop, compiled)),
    "cache_clear": (uncached_table(), (drop, compiled)),
    "nonstrict_trace": (internal("nonstrict_trace", lambda: None), (compact_compiled,)),
    "direct apply": (internal("direct_apply", lambda f: f.apply), (drop, gradient, transforms)),
    "_torchdynamo_disable": (internal("skipped_by_dynamo", lambda f: f), (compact_compiled,)),
    "TorchDynamoException": (
        for_good("torch._dynamo.exc.TorchDynamoException"),
        (compact_checkpointed,),
    ),
    "_pytree": (no_module("torch.utils._pytree"), (*COMPACT, compact_compiled, audited)),
    "TorchDispatchMode": (
        replaced("torch.utils._python_dispatch.TorchDispatchMode"),
        (*COMPACT, audited),
    ),
    "FakeTensorMode": (replaced("torch._subclasses.fake_tensor.FakeTensorMode"), COMPACT),
    "HigherOrderOperator": (replaced("torch._ops.HigherOrderOperator"), COMPACT),
    "_disable_current_modes": (
        replaced("torch.utils._python_dispatch._disable_current_modes"),
        COMPACT,
    ),
    "_len_torch_dispatch_stack": (replaced(C + "_len_torch_dispatch_stack"), EAGER),
    "is_functorch_wrapped_tensor": (
        replaced(C + "_functorch.is_functorch_wrapped_tensor"),
        EAGER,
    ),
    "_are_functorch_transforms_active": (replaced(C + "_are_functorch_transforms_active"), EAGER),
    **{
        name: (replaced(C + name), (drop, gradient, seeded, sharded))
        for name in (
            "_current_graph_task_id",
            "_stash_obj_in_tls",
            "_is_key_in_tls",
            "_get_obj_in_tls",
        )
    },
    "DisableTorchFunction": (replaced(C + "DisableTorchFunction"), COMPACT),
    **{
        name: (replaced(MODULE + name), (drop, seeded))
        for name in (
            "_save_to_state_dict",
            "_load_from_state_dict",
            "_apply",
            "_replicate_for_data_parallel",
        )
    },
    **{
        name: (replaced(f"torch.nn.modules.module.{name}"), (compact,))
        for name in (
            "_global_forward_hooks",
            "_global_forward_pre_hooks",
            "_global_backward_hooks",
            "_global_backward_pre_hooks",
        )
    },
}
"""Each part that can be taken away, and the checks that it may matter to."""

WRONG: dict[str, tuple[Any, tuple[Check, ...]]] = {
    "never traced": (replaced(C + "_is_tracing", lambda: False), (traced,)),
    "no modes": (replaced(C + "_len_torch_dispatch_stack", lambda: 0), (modes,)),
    "not transformed": (
        all_of(
            replaced(C + "_are_functorch_transforms_active", lambda: False),
            replaced("torch.autograd.forward_ad._current_level", -1),
        ),
        (transforms,),
    ),
    "never in backward": (replaced(C + "_current_graph_task_id", lambda: -1), (seeded,)),
    "nothing handed on": (replaced(C + "_is_key_in_tls", lambda key: False), (sharded,)),
}
"""Answers that are wrong, each with a check that has to find it."""


def found(part: Any, things: tuple[Check, ...]) -> dict[str, str]:
    """What the checks find where the part is missing when mapdrop is imported."""
    with part:
        import mapdrop.torch  # noqa: F401
    result: dict[str, str] = {}
    for check in things:
        try:
            result[check.__name__] = check()
        except Exception:
            result[check.__name__] = traceback.format_exc()
    return result


def forked(part: Any, things: tuple[Check, ...]) -> dict[str, str]:
    """The same in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        with os.fdopen(write, "w") as file:
            json.dump(found(part, things), file)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    os.waitpid(child, 0)
    made: dict[str, str] = json.loads(text) if text else {"process": "it ended early"}
    return made


def load_what_stays() -> None:
    """Load the kernels, and what PyTorch would import in each process anew."""
    masked()
    assert "mapdrop.backends.torch" not in sys.modules
    for name in ("torch._decomp.decompositions_for_jvp", "torch._inductor.compile_fx"):
        importlib.import_module(name)
    gc.freeze()  # Collections in the forked processes need not copy it.


if __name__ == "__main__":
    torch.set_num_threads(1)
    load_what_stays()
    names = sys.argv[1:] or [*PARTS, *WRONG]
    print(json.dumps({name: forked(*{**PARTS, **WRONG}[name]) for name in names}))
