"""The mask in JavaScript against the known answers of src/mapdrop/vectors.json."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

import mapdrop
from tests.docs.live.node import Node, spoiled

VECTORS = json.loads(Path(mapdrop.__file__).with_name("vectors.json").read_text("utf-8"))
SECTIONS = ("random123", "keys", "words", "thresholds", "masks")


def _words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def _random123(node: Node, row: Any) -> tuple[Any, Any]:
    # Words are plain numbers in JavaScript, as floats are in JSON.
    counter, key = ([float(w) for w in _words(row[name])] for name in ("counter", "key"))
    return node.ask("philox", {"counter": counter, "key": key}), row["words"]


def _keys(node: Node, row: Any) -> tuple[Any, Any]:
    given = {"seed": int(row["seed"], 16), "stream": row["stream"]}
    return node.ask("key", given), row["key"]


def _word(node: Node, row: Any) -> tuple[Any, Any]:
    numbers = {name: int(row[name], 16) for name in ("seed", "step", "coin")}
    return node.ask("word", {**numbers, "stream": row["stream"]}), row["word"]


def _thresholds(node: Node, row: Any) -> tuple[Any, Any]:
    return node.ask("threshold", row["p"]), row["T"]


def _masks(node: Node, row: Any) -> tuple[Any, Any]:
    answers = ("name", "coins", "kept", "scale64", "scale32")
    given = {name: value for name, value in row.items() if name not in answers}
    given |= {"seed": int(row["seed"], 16), "step": int(row.get("step", "0"), 16)}
    mask = node.ask("mask", given)
    bits = mask["coins"] + "0" * (-len(mask["coins"]) % 8)
    octets = [f"{int(bits[at : at + 8], 2):02x}" for at in range(0, len(bits), 8)]
    single = [struct.pack(">f", struct.unpack(">d", bytes.fromhex(s))[0]) for s in mask["scale"]]
    # The file has no scale where there is no coin; test_mask.py compares that one.
    scales = (mask["scale"], [s.hex() for s in single]) if row["kept"] else ([], [])
    wanted = tuple(row[name] for name in ("coins", "kept", "scale64", "scale32"))
    return (mask["sizes"], "".join(octets), *scales), wanted


_ANSWERS = dict(zip(SECTIONS, (_random123, _keys, _word, _thresholds, _masks), strict=True))


def check(node: Node, section: str) -> None:
    for row in VECTORS[section]:
        came, wanted = _ANSWERS[section](node, row)
        assert came == wanted, row


@pytest.mark.parametrize("section", SECTIONS)
def test_known_answers(node: Node, section: str) -> None:
    check(node, section)


def test_no_section_is_left_out() -> None:
    assert {name for name, rows in VECTORS.items() if isinstance(rows, list)} == set(SECTIONS)
    assert all(len(VECTORS[section]) > 2 for section in SECTIONS)


# Each fault in the script, and the first section that must notice it.
SPOILED = {
    "multiplier": ("0xd251_1f53", "0xd251_1f51", "random123"),
    "Weyl": ("0xbb67_ae85]", "0xbb67_ae84]", "random123"),
    "rounds": ("round < 10; round++", "round < 9; round++", "random123"),
    "high word": ("+ (inner >>> 16)", "+ (inner >>> 17)", "random123"),
    "hash": ("^ v[c], 63n", "^ v[c], 62n", "keys"),
    "digest": ("0x0101_0010n", "0x0101_0020n", "keys"),
    "block of 4": ("number & 3n", "number & 1n", "words"),
    "ties to even": ("floor % 2 === 1", "floor % 2 === 0", "thresholds"),
    "at T": ("w >= T", "w > T + 2 ** 31", "masks"),
    "ties of words": ("at(other) - at(one)", "at(one) - at(other)", "masks"),
    "carry": ("low + extra[line] >= WORD", "low + extra[line] >= 2 * WORD", "masks"),
    "even blocks": ("const below = Math.floor(k / 2)", "const below = Math.ceil(k / 2)", "masks"),
    "region": ('law.region === "valid"', 'law.region !== "valid"', "masks"),
    "block's rate": ("halving < 64", "halving < 9", "masks"),
    "strides": ("sizes.slice(axis + 1))", "sizes.slice(axis))", "masks"),
    "sample": ('kind === "sample" && sizes.length > 0', "false", "masks"),
}


@pytest.mark.parametrize(("text", "instead", "section"), SPOILED.values(), ids=SPOILED)
def test_faults_are_noticed(
    program: str, tmp_path: Path, text: str, instead: str, section: str
) -> None:
    with (
        spoiled(program, tmp_path, "mask-v1.js", text, instead) as node,
        pytest.raises(AssertionError),
    ):
        check(node, section)
