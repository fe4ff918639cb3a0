"""Which part of mapdrop may import which: the rules of the source tree.

An import counts wherever it stands, in a function and under TYPE_CHECKING too. Each rule has a
twin, which shows on a tree made for it that the rule can fail.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "mapdrop"

# From the bottom: a part imports parts of its own floor or of those below it. `mapdrop` is the
# public package itself, whose names come from the floors up to its own.
FLOORS = (
    {"system", "spec"},
    {"kernels"},
    {"backends"},
    {"mask", "rates", ""},
    {"_layers"},
    {"torch", "keras", "flax", "equinox"},
    {"tools"},
    {"localize"},
    {"study"},
    {"cli", "__main__"},
)
LAYERS = ("torch", "keras", "flax", "equinox")
APPLICATIONS = ("mapdrop.localize", "mapdrop.study")
PUBLIC = {"mapdrop", *(f"mapdrop.{name}" for name in LAYERS)}
PUBLIC |= {"mapdrop.torch.compact", "mapdrop.torch.predict"}  # Functions of these names.
KERNEL_USERS = (
    "mapdrop.kernels",
    "mapdrop.backends",
    "mapdrop.torch.compact.packed_conv",
    "mapdrop.tools.adapters.numpy",
)
GRAPH = ("mapdrop.torch.graph",)
TOPS = tuple(f"mapdrop.torch.{name}" for name in ("audit", "convert", "predict"))
CLIENTS = (*GRAPH, "mapdrop.torch.compact", *TOPS)

OF_CLIENTS = re.compile("(?<![a-z])([Uu]np|[Pp])ack(s|ed|ing)?(?![a-z])|[Cc]ost|[Aa]udit")
"""What a graph's clients do with it: words that it has no use for, in names or in comments."""
TRICKS = {
    *("exec", "builtins", "__builtins__"),
    *("monitoring", "setprofile", "setprofile_all_threads", "settrace", "settrace_all_threads"),
}
"""What changes Python for all code, or runs code that no tool reads."""


class Import(NamedTuple):
    """Of a module of mapdrop, or of a name in it, by another."""

    by: str
    line: int
    module: str
    name: str | None = None

    def __str__(self) -> str:
        imported = self.module if self.name is None else f"{self.name} of {self.module}"
        return f"{self.by}, line {self.line}, imports {imported}"


class Word(NamedTuple):
    """In a module of mapdrop, and out of place there."""

    by: str
    line: int
    word: str

    def __str__(self) -> str:
        return f"{self.by}, line {self.line}, has {self.word!r}"


class Tree:
    """The modules in a folder of sources, and what they import of each other."""

    def __init__(self, folder: Path) -> None:
        self.files = {_module(path.relative_to(folder)): path for path in folder.rglob("*.py")}
        self.parsed = {name: ast.parse(path.read_text()) for name, path in self.files.items()}

    def imports(self) -> list[Import]:
        return [found for module in self.files for found in self._of(module)]

    def exported(self, package: str) -> set[str]:
        """The names that a package's `__init__.py` gives to its users; its own modules are none."""
        body = self.parsed[package].body
        names = {
            alias.asname or alias.name
            for node in body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if f"{self._base(package, node)}.{alias.name}" not in self.files
        }
        assigned = [node.targets[0] for node in body if isinstance(node, ast.Assign)]
        return names | {ast.unparse(target) for target in assigned}

    def _of(self, module: str) -> Iterator[Import]:
        for node in ast.walk(self.parsed[module]):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._import(module, node.lineno, alias.name)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(module, node)
                for alias in node.names:
                    yield from self._import(module, node.lineno, base, alias.name)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                for argument in node.args:
                    if isinstance(argument, ast.Constant):
                        yield from self._import(module, node.lineno, str(argument.value))

    def _base(self, module: str, node: ast.ImportFrom) -> str:
        package = module if self.files[module].stem == "__init__" else module.rpartition(".")[0]
        return resolve_name("." * node.level + (node.module or ""), package)

    def _import(self, by: str, line: int, module: str, name: str | None = None) -> Iterator[Import]:
        """Yield an import of mapdrop; a name that a package exports hides a module of that name."""
        inner = f"{module}.{name}"
        if inner in self.files and not (module in self.files and name in self.exported(module)):
            yield Import(by, line, inner)
        elif module in self.files:
            yield Import(by, line, module, name)


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(("mapdrop", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _part(module: str) -> str:
    """The folder or file in src/mapdrop that the module belongs to; "" is mapdrop itself."""
    return module.partition(".")[2].partition(".")[0]


def _within(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def stray(tree: Tree, part: str) -> list[Import]:
    """What the part imports of the other parts."""
    return [i for i in tree.imports() if _part(i.by) == part != _part(i.module)]


def upward(tree: Tree) -> list[Import]:
    floors = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
    return [i for i in tree.imports() if floors[_part(i.module)] > floors[_part(i.by)]]


def between_layers(tree: Tree) -> list[Import]:
    """Layers of one framework that import those of another."""
    return [i for part in LAYERS for i in stray(tree, part) if _part(i.module) in LAYERS]


def of_kernels(tree: Tree) -> list[Import]:
    return [
        i
        for i in tree.imports()
        if _within(i.module, ["mapdrop.kernels"]) and not _within(i.by, KERNEL_USERS)
    ]


def private(tree: Tree) -> list[Import]:
    """What the applications import of the library, and is no public name of it."""
    exported = {package: tree.exported(package) for package in PUBLIC & set(tree.files)}
    return [
        i
        for i in tree.imports()
        if _within(i.by, APPLICATIONS)
        and not _within(i.module, [*APPLICATIONS, "mapdrop.system"])
        and not _directly_in_tools(tree, i.module)
        and not (i.module in exported and (i.name is None or i.name in exported[i.module]))
    ]


def _directly_in_tools(tree: Tree, module: str) -> bool:
    folder = tree.files["mapdrop.tools"].parent if "mapdrop.tools" in tree.files else None
    return tree.files[module].parent == folder and module != "mapdrop.tools"


def from_clients(tree: Tree) -> list[Import]:
    """What the graph imports of the PyTorch part besides itself."""
    return [
        i
        for i in tree.imports()
        if _within(i.by, GRAPH)
        and _within(i.module, ["mapdrop.torch"])
        and not _within(i.module, GRAPH)
    ]


def of_tops(tree: Tree) -> list[Import]:
    """What imports the clients that no layer builds on, besides the public package."""
    return [
        i
        for top in TOPS
        for i in tree.imports()
        if _within(i.module, [top])
        and not _within(i.by, [top, "mapdrop.tools", *APPLICATIONS])
        and i.by != "mapdrop.torch"
    ]


def of_clients(tree: Tree) -> list[Word]:
    """Words of the graph's clients in its own files."""
    return [
        Word(module, number, found[0])
        for module, path in tree.files.items()
        if _within(module, GRAPH)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for found in OF_CLIENTS.finditer(line)
    ]


def tricks(tree: Tree) -> list[Word]:
    """Names of tricks in the graph and its clients, also as texts by which they are looked up."""
    return [
        Word(module, getattr(node, "lineno", 0), name)
        for module, parsed in tree.parsed.items()
        if _within(module, CLIENTS)
        for node in ast.walk(parsed)
        for name in TRICKS.intersection(_names(node))
    ]


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return [name]
        case ast.alias(name=name) | ast.ImportFrom(module=str(name)):
            return name.split(".")
        case ast.Call(args=looked_up):
            return [str(part.value) for part in looked_up if isinstance(part, ast.Constant)]
        case ast.Subscript(slice=ast.Constant(value=key)):
            return [str(key)]
    return []


def circle(imports: Iterable[Import]) -> list[str]:
    """Return modules that import each other in a ring, or [] where there is no ring."""
    above: dict[str, set[str]] = {}
    for found in imports:
        above.setdefault(found.by, set()).add(found.module)
    try:
        TopologicalSorter(above).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.fixture(scope="module")
def mapdrop() -> Tree:
    tree = Tree(SOURCE)
    assert len(tree.files) > 100
    assert len(tree.imports()) > 500
    return tree


def test_every_part_has_its_floor(mapdrop: Tree) -> None:
    assert {_part(module) for module in mapdrop.files} == set().union(*FLOORS)


@pytest.mark.parametrize("part", ["spec", "system"])
def test_the_lowest_floor_stands_alone(mapdrop: Tree, part: str) -> None:
    assert not _lines(stray(mapdrop, part))


def test_kernels_are_known_to_backends_and_packed_operations(mapdrop: Tree) -> None:
    assert not _lines(of_kernels(mapdrop))


def test_applications_use_public_names(mapdrop: Tree) -> None:
    assert not _lines(private(mapdrop))


def test_the_graph_knows_none_of_its_clients(mapdrop: Tree) -> None:
    assert not _lines([*from_clients(mapdrop), *of_clients(mapdrop)])


def test_no_layer_builds_on_the_topmost_clients(mapdrop: Tree) -> None:
    assert not _lines(of_tops(mapdrop))


def test_the_graph_and_its_clients_leave_python_as_it_is(mapdrop: Tree) -> None:
    assert not _lines(tricks(mapdrop))


def test_nothing_imports_a_higher_floor(mapdrop: Tree) -> None:
    assert not _lines(upward(mapdrop))


def test_layers_of_a_framework_know_no_other(mapdrop: Tree) -> None:
    assert not _lines(between_layers(mapdrop))


def test_no_imports_go_in_a_circle(mapdrop: Tree) -> None:
    assert not circle(mapdrop.imports())


def _lines(found: Iterable[Import | Word]) -> str:
    return "\n".join(map(str, found))


def _plant(folder: Path, sources: Mapping[str, str]) -> Tree:
    """A tree with these files, and an empty `__init__.py` in each folder that has none."""
    for name, text in sources.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        (inner / "__init__.py").touch()
    return Tree(folder)


LIBRARY = {
    "__init__.py": "from mapdrop.spec.pattern import Pattern as Pattern\n__version__ = '1'",
    "spec/pattern.py": "class Pattern: ...",
    "system/warn.py": "",
    "kernels/__init__.py": "import importlib\nimportlib.import_module('mapdrop.kernels.cpu')",
    "kernels/cpu.py": "from mapdrop.spec.pattern import Pattern",
    "backends/cpu.py": "from mapdrop.kernels import cpu",
    "torch/__init__.py": "from mapdrop.torch.seeded import seeded as seeded",
    "torch/seeded.py": "from mapdrop.backends import cpu\ndef seeded(): ...",
    "torch/graph/build.py": "def package(x):\n    return x.executor, {'builtins'}",
    "torch/compact/lower.py": "from mapdrop.torch.graph.build import package\npacked = costs = 0",
    "torch/audit/watch.py": "from mapdrop.torch.compact import lower",
    "torch/predict/split.py": "from mapdrop.torch.graph.build import package",
    "keras/drop.py": "",
    "tools/errors.py": "",
    "tools/bench/memory.py": "",
    "localize/train.py": (
        "from mapdrop import Pattern, __version__\nfrom mapdrop.torch import seeded\n"
        "from mapdrop.tools import errors\nfrom mapdrop.system.warn import warn\nimport mapdrop"
    ),
    "study/study.py": "from mapdrop.localize.train import train",
}
RULES: dict[str, Callable[[Tree], Sequence[Import | Word]]] = {
    "spec": lambda tree: stray(tree, "spec"),
    "system": lambda tree: stray(tree, "system"),
    "layers": between_layers,
    "kernels": of_kernels,
    "applications": private,
    "floors": upward,
    "clients": from_clients,
    "clients' words": of_clients,
    "tops": of_tops,
    "tricks": tricks,
}
BROKEN = [
    ("spec", "spec/pattern.py", "from mapdrop.system.warn import warn"),
    ("spec", "spec/pattern.py", "def f():\n    from mapdrop.system import warn"),
    ("spec", "spec/pattern.py", "import mapdrop.system.warn as w"),
    ("spec", "spec/pattern.py", "from mapdrop import Pattern"),
    ("spec", "spec/pattern.py", "from ..system import warn"),
    ("system", "system/warn.py", "if TYPE_CHECKING:\n    from mapdrop.spec.pattern import Pattern"),
    ("layers", "keras/drop.py", "from mapdrop.torch import seeded"),
    ("kernels", "torch/seeded.py", "from mapdrop.kernels import cpu"),
    ("kernels", "torch/seeded.py", "importlib.import_module('mapdrop.kernels.cpu')"),
    ("applications", "localize/train.py", "from mapdrop.spec.pattern import Pattern"),
    ("applications", "localize/train.py", "from mapdrop.torch.seeded import seeded"),
    ("applications", "localize/train.py", "from mapdrop.torch import _hidden"),
    ("applications", "localize/train.py", "import mapdrop.backends"),
    ("applications", "study/study.py", "from mapdrop.tools.bench.memory import peak"),
    ("applications", "study/study.py", "from mapdrop.tools import bench"),
    ("floors", "localize/train.py", "from mapdrop.study.study import study"),
    ("floors", "backends/cpu.py", "from mapdrop.torch import seeded"),
    ("floors", "spec/pattern.py", "import mapdrop"),
    ("clients", "torch/graph/build.py", "from mapdrop.torch.compact import lower"),
    ("clients", "torch/graph/build.py", "def f():\n    import mapdrop.torch.compact.lower"),
    ("clients", "torch/graph/build.py", "from ..seeded import seeded"),
    ("clients", "torch/graph/build.py", "from mapdrop.torch import seeded"),
    ("clients' words", "torch/graph/build.py", "class PackedConv: ..."),
    ("clients' words", "torch/graph/build.py", "def f(maps, is_unpacked): ..."),
    ("clients' words", "torch/graph/build.py", "x = 1  # What does this cost?"),
    ("clients' words", "torch/graph/build.py", "x = 1  # For the audit."),
    ("tops", "torch/compact/lower.py", "from mapdrop.torch.audit import watch"),
    ("tops", "torch/seeded.py", "import mapdrop.torch.audit.watch"),
    ("tops", "torch/compact/lower.py", "from mapdrop.torch.predict import split"),
    ("tops", "torch/audit/watch.py", "from mapdrop.torch.predict import split"),
    ("tricks", "torch/audit/watch.py", "import sys\nsys.settrace(print)"),
    ("tricks", "torch/graph/build.py", "exec('x = 1')"),
    ("tricks", "torch/graph/build.py", "import builtins"),
    ("tricks", "torch/graph/build.py", "from builtins import isinstance as known"),
    ("tricks", "torch/compact/lower.py", "__builtins__['isinstance'] = None"),
    ("tricks", "torch/compact/lower.py", "def f(g):\n    sys.setprofile(g)"),
    ("tricks", "torch/compact/lower.py", "from threading import settrace as s"),
    ("tricks", "torch/compact/lower.py", "getattr(sys, 'setprofile')(None)"),
    ("tricks", "torch/compact/lower.py", "sys.modules['builtins'].isinstance = None"),
]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_tree_that_keeps_the_rules_passes(
    tmp_path: Path, rule: Callable[[Tree], Sequence[Import | Word]]
) -> None:
    tree = _plant(tmp_path, LIBRARY)
    assert len(tree.imports()) == 16
    assert not _lines(rule(tree))
    assert not circle(tree.imports())


@pytest.mark.parametrize(("rule", "file", "code"), BROKEN)
def test_a_broken_rule_is_seen(tmp_path: Path, rule: str, file: str, code: str) -> None:
    tree = _plant(tmp_path, {**LIBRARY, file: code})
    module = _module(Path(file))
    assert [found.by for found in RULES[rule](tree)] == [module]


@pytest.mark.parametrize(
    "code",
    [
        "from mapdrop.backends import cpu",
        "def f():\n    from mapdrop.torch import seeded",
        "if TYPE_CHECKING:\n    from mapdrop.torch.seeded import seeded",
    ],
)
def test_a_circle_is_seen(tmp_path: Path, code: str) -> None:
    tree = _plant(tmp_path, {**LIBRARY, "kernels/cpu.py": code})
    assert {"mapdrop.backends.cpu", "mapdrop.kernels.cpu"} <= set(circle(tree.imports()))


def test_a_package_that_imports_its_own_module_is_no_circle(tmp_path: Path) -> None:
    tree = _plant(tmp_path, {**LIBRARY, "kernels/__init__.py": "from mapdrop.kernels import cpu"})
    users = [i.by for i in tree.imports() if i.module == "mapdrop.kernels.cpu"]
    assert sorted(users) == ["mapdrop.backends.cpu", "mapdrop.kernels"]
    assert not circle(tree.imports())


def test_a_part_without_a_floor_is_seen(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="attic"):
        upward(_plant(tmp_path, {**LIBRARY, "attic/trunk.py": "import mapdrop"}))
