"""Writes src/mapdrop/vectors.json: `python -m tests.make_vectors`.

The vectors are made by tests/reference.py, not by mapdrop. A test checks that this gives the file's
very text, and others that every implementation in mapdrop reproduces it.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from tests import cases, reference

FILE = Path(__file__).parents[1] / "src" / "mapdrop" / "vectors.json"

_ABOUT = {
    "what": "Known answers for version 1 of mapdrop's mask specification (docs/mask-v1.md).",
    "numbers": "Integers above 2**53 do not fit every JSON reader: seeds, steps, coins and keys are"
    " hexadecimal text, the most significant digit first; words are 8 digits each.",
    "random123": "Philox4x32-10 from kat_vectors of Random123: counter (4 words), key (2), result.",
    "keys": "The 64-bit key of a seed and a stream; a stream of null is no stream.",
    "words": "The word of one coin.",
    "thresholds": "T of a rate p, in decimal.",
    "masks": "Arguments as of mapdrop.mask, left out where they have its defaults. `coins` is the"
    " coins' shape. `kept` has a bit for each coin in row-major order, 1 for kept, the first in"
    " the most significant bit of the first byte, the last byte filled up with 0. `scale64` and"
    " `scale32` are the bits of the float64 and of the float32 that kept values are multiplied by:"
    " one, or for scale='sample' one for each index of the first coin axis.",
}
_RANDOM123 = (
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
)  # fmt: skip
_SEEDS = (0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1)
_STEPS = (0, 1, 2**32, 2**64 - 1)
_STREAMS = (None, "", "encoder.block1.drop", "Größe/滴")
_COINS = (
    *range(10), 2**32 - 1, 2**32, 2**32 + 1, 2**34 - 1, 2**34, 2**34 + 5, 2**63 - 1, 2**63,
    2**64 - 1,
)  # fmt: skip
_RATES = (0.0, 1e-12, 2**-33, 3 * 2**-33, 1e-6, 0.001, 0.1, 0.3, 0.5, 0.9, 0.999, 1 - 1e-12, 1.0)


def vectors() -> dict[str, Any]:
    """Everything the file has."""
    keys = [(seed, stream) for seed in _SEEDS for stream in _STREAMS]
    words = [
        *((0, None, 0, coin) for coin in _COINS),
        *((seed, None, 0, coin) for seed in _SEEDS[1:] for coin in (0, 5, 2**34 + 5)),
        *((0, None, step, coin) for step in _STEPS[1:] for coin in (0, 5, 2**34 + 5)),
        *((seed, s, step, 6) for seed in _SEEDS for s in _STREAMS[1:] for step in (0, 2**64 - 1)),
    ]
    return {
        "about": _ABOUT,
        "version": 1,
        "random123": [dict(zip(("counter", "key", "words"), v, strict=True)) for v in _RANDOM123],
        "keys": [
            {"seed": f"{seed:x}", "stream": stream, "key": f"{reference.key_of(seed, stream):016x}"}
            for seed, stream in keys
        ],
        "words": [
            {
                "seed": f"{seed:x}",
                "stream": stream,
                "step": f"{step:x}",
                "coin": f"{coin:x}",
                "word": f"{reference.word(coin, reference.key_of(seed, stream), step):08x}",
            }
            for seed, stream, step, coin in words
        ],
        "thresholds": [{"p": p, "T": reference.threshold(p)} for p in _RATES],
        "masks": [_mask(case) for case in cases.ALL],
    }


def _mask(case: cases.Case) -> dict[str, Any]:
    options = case.options
    coins, kept, scales = reference.mask(case.pattern, case.shape, case.p, **options)
    known = ("exact", "balance", "block", "region", "scale", "stream")
    sample = options.get("scale") == "sample" and len(coins) > 0
    firsts = {index[:1] if sample else (): scale for index, scale in scales.items()}
    bits = "".join("01"[bit] for bit in kept.values())
    octets = [bits[at : at + 8].ljust(8, "0") for at in range(0, len(bits), 8)]
    given = {name: options[name] for name in known if name in options}
    sizes = {n: v for n, v in options.items() if n not in (*known, "seed", "step")}
    if sizes:
        given["sizes"] = sizes
    if "step" in options:
        given["step"] = f"{options['step']:x}"
    return {
        "name": case.name,
        "pattern": case.pattern,
        "shape": case.shape,
        "p": case.p,
        "seed": f"{options['seed']:x}",
        **given,
        "coins": coins,
        "kept": "".join(f"{int(octet, 2):02x}" for octet in octets),
        "scale64": [struct.pack(">d", scale).hex() for scale in firsts.values()],
        "scale32": [struct.pack(">f", scale).hex() for scale in firsts.values()],
    }


def text() -> str:
    """The file: one line for each vector."""
    parts = []
    for name, content in vectors().items():
        if isinstance(content, list):
            rows = ",\n    ".join(json.dumps(row, ensure_ascii=False) for row in content)
            parts.append(f'  "{name}": [\n    {rows}\n  ]')
        else:
            indented = json.dumps(content, ensure_ascii=False, indent=2).replace("\n", "\n  ")
            parts.append(f'  "{name}": {indented}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
