"""`mapdrop explain` from the outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from mapdrop.cli import app


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A small image, which is quicker to read than those that scikit-learn ships."""
    file = tmp_path / "photograph.png"
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(values).save(file)
    return file


def explain(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["explain", *map(str, arguments)])


def test_the_default_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = explain()
    assert result.exit_code == 0, result.stderr
    for words in (
        "b h w c -> b c   p = 0.5",
        "Values that differ only along h, w share a coin",
        "2 photographs, 24 rows, 36 columns, 12 feature maps",
        "[2, 1, 1, 12]",
        "24 (b 2 x c 12)",
        "864 values",
        "nn.Dropout2d(0.5)(x.movedim(3, 1)).movedim(1, 3)",
        "noise_shape=(None, 1, 1, None)",
        "broadcast_dims=(1, 2)",
        "torchvision, timm: only paths and blocks",
        "A mask never looks at the values",
        "All 12 maps, whole: mapdrop-explain.png",
    ):
        assert words in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    with Image.open("mapdrop-explain.png") as image:
        assert image.width == 1804
    assert [file.name for file in tmp_path.iterdir()] == ["mapdrop-explain.png"]


def test_options_reach_the_mask(tmp_path: Path, photograph: Path) -> None:
    out = tmp_path / "a.png"
    given = ["(m n) (g k) h w -> m g", "--size", "n=2", "--size", "k=4", "--p", "0.25"]
    result = explain(*given, "--exact", "g", "--image", photograph, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert "[(1 1), (3 1), 1, 1]" in result.stdout
    assert "Of each 3 coins along g exactly 2 survive." in result.stdout
    assert "33.3% dropped: 1 of 3 coins" in result.stdout
    assert "times 1.5" in result.stdout
    assert out.is_file()


def test_the_same_call_writes_the_same_file(tmp_path: Path, photograph: Path) -> None:
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for file, seed in zip(files, ("1", "1", "2"), strict=True):
        assert explain("--image", photograph, "--out", file, "--seed", seed).exit_code == 0
    same, again, other = (file.read_bytes() for file in files)
    assert same == again
    assert same != other


def test_a_shape_of_ones_own_gives_numbers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["b c d h w -> b d h w c", "--shape", "2,3,5,5,5", "--block", "d=3, h=3,w=3"]
    result = explain(*given)
    assert result.exit_code == 0, result.stderr
    assert "750 (b 2 x d 5 x h 5 x w 5 x c 3)" in result.stdout
    assert "Coins fall in blocks of 3 x 3 x 3 along d, h, w." in result.stdout
    assert "drop_block3d(x, 0.5, block_size=3)" in result.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["b h w c"], "a pattern has one '->'"),
        (["a b c d e -> a"], "a picture needs 3 or 4 axes"),
        (["b h w (g k) -> b g"], "the sizes of 'g', 'k' are open"),
        (["b h w (g k) -> b g", "--size", "k=5"], "an axis of 12 does not split into parts of 5"),
        (["--shape", "1,2"], "the pattern names 4 axes, the array has 2"),
        (["--shape", "2,x"], "--shape 2,x is not a shape"),
        (["--shape", "2,0,1,1"], "--shape 2,0,1,1 is not a shape"),
        (["... -> ...", "--shape", "99999,99999"], "9,999,800,001 coins are too many"),
        (["--p", "1.5"], "p is the fraction to drop, from 0 to 1, not 1.5"),
        (["--p", "nan"], "p is the fraction to drop, from 0 to 1, not nan"),
        (["--p", "half"], "Invalid value for '--p'"),
        (["--seed", "-1"], "seed is a whole number from 0 to 2**64 - 1, not -1"),
        (["--size", "k"], "--size k is not a size: write name=number, as k=4"),
        (["--size", "k=0"], "--size k=0 is not a size"),
        (["--size", "k=3"], "k=3 gives a size for an axis that the pattern does not name"),
        (["--size", "seed=3"], "'seed' has a meaning of its own"),
        (["--size", "shape=3"], "'shape' has a meaning of its own"),
        (["--size", "k=4", "--size", "k=5"], "--size k=5: 'k' has a size already, 4"),
        (["--block", "h=x"], "--block h=x is not a size"),
        (["--block", "h=3,h=5"], "--block h=5: 'h' has a size already, 3"),
        (["--block", "h=3"], "block='h' does not name an axis with coins of its own"),
        (["--exact", "h"], "exact='h' does not name an axis with coins of its own"),
        (["--exact", "c", "--balance", "b"], "exact and balance exclude each other"),
        (["--image", "missing.png"], "missing.png cannot be read: No such file"),
        (["--image", "."], ". is not a regular file"),
        (["--image", "text.png"], "text.png is not an image that Pillow reads"),
        (["--image", "/dev/zero"], "/dev/zero is not a regular file"),
        (["--image", "\x1b[2J.png"], r"error: \x1b[2J.png cannot be read: No such file"),
        (["b \x1b[2J -> b"], "  b  [2J -> b"),
        (["--out", "picture.pdf"], "its name ends in .png"),
        (["--out", "missing/a.png"], "there is no folder missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("no image")
    result = explain(*arguments)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["text.png"]


def test_a_pattern_s_spaces_are_spaces() -> None:
    result = explain("b\x1ch\n\rw c\t-> b c", "--shape", "1,2,3,4")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == "b h w c -> b c   p = 0.5"


def test_the_caret_stays_under_the_offence() -> None:
    result = explain("b h w c -> b k", "--shape", "1,1,1,1")
    lines = result.stderr.splitlines()
    assert lines[1] == "  b h w c -> b k"
    assert lines[2].index("^") == lines[1].index("k")


def test_a_place_that_cannot_be_written(tmp_path: Path, photograph: Path) -> None:
    (tmp_path / "a.png").mkdir()
    result = explain("--image", photograph, "--out", tmp_path / "a.png")
    assert result.exit_code == 2
    assert f"--out {tmp_path / 'a.png'} cannot be written: Is a directory" in result.stderr


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mapdrop.tools.explain.show", raising=False)
    monkeypatch.delitem(sys.modules, "mapdrop.tools.explain.terminal", raising=False)
    monkeypatch.setitem(sys.modules, "rich.table", None)
    result = explain("--shape", "1,1,1,1")
    assert result.exit_code == 1
    assert 'pip install "mapdrop[study]"' in result.stderr


def loaded_by(statement: str) -> set[str]:
    """Which heavy libraries a fresh interpreter has after the statement."""
    heavy = "{'matplotlib', 'sklearn', 'torch', 'numba', 'PIL', 'pandas', 'scipy'}"
    code = f"{statement}\nimport sys\nprint(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_command_is_quick_to_start() -> None:
    assert loaded_by("import mapdrop.tools.explain.command") == set()
    assert "matplotlib" in loaded_by("import mapdrop.tools.explain.show")  # The guard can fail.
