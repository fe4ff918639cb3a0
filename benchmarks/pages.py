"""From committed rows to the pages that show them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README = HERE.parent / "README.md"
DOCS = HERE.parent / "docs"

Record = dict[str, Any]


def newest(results: Path, key: Iterable[str] = ("row",)) -> dict[str, Record]:
    """The last record of each row."""
    records = map(json.loads, results.read_text().splitlines())
    return {", ".join(str(record[name]) for name in key): record for record in records}


def measured_on(records: Iterable[Record], packages: Iterable[str] = ("torch",)) -> str:
    """The line below a table: machines, days and versions."""
    records = list(records)
    machines = {f"{r['processor']}, {r['threads']} threads, {r['date']}" for r in records}
    versions = sorted({f"{name} {r[name]}" for name in packages for r in records if name in r})
    return f"{'; '.join(sorted(machines))}; {', '.join(versions)}."


def placed(text: str, mark: str, made: str) -> str:
    """The text with that between the marks, where it has them."""
    between = rf"(?<=<!-- {mark} -->\n).*?(?=<!-- /{mark} -->)"
    return re.sub(between, lambda _: made, text, flags=re.DOTALL)
