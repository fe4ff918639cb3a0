"""Read the settings of a DeepLabCut project that say what is labelled: config.yaml.

Its YAML is read as nodes, and no value is constructed from it: a few hundred bytes can expand to
gigabytes of lists, a tag can name a function to call, and a name that looks like a number must stay
text. DeepLabCut does construct values, by rules that changed: YAML 1.1 reads `on` as true and
`1_1` as 11, YAML 1.2 reads `010` as 10. Its label files have what came out.
"""

from __future__ import annotations

import codecs
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from mapdrop.localize.data import paths
from mapdrop.localize.data.base import DataError
from mapdrop.system.files import content

MAX_BYTES = 1 << 22
"""Largest config.yaml that is read."""

PREFIX = "tag:yaml.org,2002:"
SCALARS = (
    "bool", "float", "int", "null", "str", "timestamp", "python/str", "python/unicode",
)  # fmt: skip
SEQUENCES = ("seq", "python/list", "python/tuple")
"""Tags of what is read as text, and as a list. Python's are in configs of older versions."""

LONGEST = 40
"""Letters of a name that may be a number."""

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
Spellings = tuple[str, ...]
"""A name as it may be spelled in label files; the first is that of the config."""


@dataclass(frozen=True)
class Config:
    """What a project labels.

    Attributes:
        path: its config.yaml.
        scorer: who labelled; None if it doesn't say.
        parts: the body parts.
    """

    path: Path
    scorer: Spellings | None
    parts: tuple[Spellings, ...]


def read_config(root: Path) -> Config:
    """Read the settings of the project in the folder `root`.

    Raises:
        DataError: when they are missing or malformed.
    """
    path = root / "config.yaml"
    if not path.is_file():
        raise DataError(f"{path} is missing; pass the folder that DeepLabCut made, which has it")
    paths.resolve_inside(root, path, str(root))
    settings = _settings(path)
    lists = ["bodyparts"]
    multianimal = _text(path, settings.get("multianimalproject")) or "false"
    if multianimal.lower() not in ("false", "no", "off", "0", "null", "~"):
        lists = ["multianimalbodyparts", "uniquebodyparts"]
    parts = [part for name in lists for part in _names(path, name, settings.get(name))]
    if not parts:
        raise DataError(f"{path}: '{lists[0]}:' should list the body parts' names")
    scorer = settings.get("scorer")
    return Config(path, _spellings(path, scorer) or None, tuple(parts))


def _settings(path: Path) -> dict[str, yaml.Node]:
    try:
        document = yaml.compose(_decoded(content(path, MAX_BYTES)), yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path} is not valid YAML: {error}; correct it") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error}") from error
    if not isinstance(document, yaml.MappingNode):
        raise DataError(f"{path} should hold settings such as 'bodyparts:'; make a new project")
    return {key.value: value for key, value in document.value if isinstance(key, yaml.ScalarNode)}


def _decoded(data: bytes) -> str:
    """Decode a config. Windows may have written it in a code page, whose letters stay unknown."""
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_utf16 else "utf-8-sig", errors="replace")


def _names(path: Path, name: str, node: yaml.Node | None) -> list[Spellings]:
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == f"{PREFIX}null"):
        return []
    is_list = isinstance(node, yaml.SequenceNode) and _kind(node) in SEQUENCES
    names = [_spellings(path, part) for part in node.value] if is_list else []
    if not all(names) or not is_list:
        raise DataError(f"{path}: '{name}:' should list the body parts' names")
    return names


def _spellings(path: Path, node: yaml.Node | None) -> Spellings:
    """Return how label files may spell a name; () if the node is missing, empty or no text.

    Raises:
        DataError: when letters of it are unknown.
    """
    text = _text(path, node)
    if text is None:
        return ()
    found = {text: None}
    # What stands in quotes is text to all versions, and long numbers would take their time.
    if isinstance(node, yaml.ScalarNode) and not node.style and len(text) <= LONGEST:
        for read in (yaml.safe_load, int, float):  # What YAML 1.1 makes of it, and YAML 1.2.
            with suppress(ValueError, yaml.YAMLError):
                found.setdefault(str(read(text)))
    return tuple(found)


def _text(path: Path, node: yaml.Node | None) -> str | None:
    """Return a scalar node's text; None if the node is missing, empty or not text."""
    if not isinstance(node, yaml.ScalarNode) or _kind(node) not in SCALARS or not node.value:
        return None
    if UNKNOWN in node.value:
        raise DataError(
            f"{path} is not in UTF-8, but has the name {node.value!r}; save it as UTF-8"
        )
    return str(node.value)


def _kind(node: yaml.Node) -> str:
    return str(node.tag).removeprefix(PREFIX)
