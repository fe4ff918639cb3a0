"""FLIC's and MPII's MATLAB files, written with the published files' structure."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from mapdrop.localize.data import DataError, LoadOptions, load, read
from mapdrop.localize.data.flic import JOINTS as FLIC
from mapdrop.localize.data.matlab_checksums import verify_checksums
from mapdrop.localize.data.mpii import JOINTS as MPII
from tests.conftest import DATA, framework, missing
from tests.localize.data.writers import (
    EMPTY,
    flic_rows,
    mpii_person,
    mpii_release,
    save_images,
    structs,
    truth,
)

NAMED = ("lsho", "rsho", "nose", "mtorso")
Rows = list[dict[str, Any]]


def flic(root: Path, rows: Rows) -> Path:
    savemat(root / "examples.mat", {"examples": structs(rows)})
    return root


def test_flics_own_split_is_kept_and_what_is_in_neither_part_is_left_out(tmp_path: Path) -> None:
    save_images(tmp_path / "images", truth())
    rows = flic_rows(truth(), NAMED)
    rows[2]["istrain"] = np.bool_(False)
    data = load(str(flic(tmp_path, rows)), LoadOptions(size=(64, 64)))
    assert sorted(data.train) == [0, 1, 2, 3, 4]
    assert data.test.tolist() == [5, 6]
    request = LoadOptions(train_size=2, test_size=1, bodyparts=NAMED[1:])
    some = load(str(tmp_path), request)
    assert (len(some.train), len(some.test)) == (2, 1)


def test_flics_joints_are_in_the_authors_columns() -> None:
    """Their numbers start at 1: lookupPart('rhip') is 10, 'leye' 13, 'nose' 17."""
    assert len(FLIC) == 29
    columns = {"lsho": 1, "rwri": 6, "lhip": 7, "rhip": 10, "leye": 13, "reye": 14, "nose": 17}
    assert {name: FLIC.index(name) + 1 for name in columns} == columns


def test_a_joint_outside_a_published_image_is_missing(tmp_path: Path) -> None:
    save_images(tmp_path / "images", truth())
    rows = flic_rows(truth(), NAMED)
    rows[1]["coords"][:, 0] = [-3, 5]
    rows[1]["coords"][:, 3] = [5, 90]
    rows[3]["coords"][1, 0] = np.nan
    data = read(flic(tmp_path, rows), NAMED)
    np.testing.assert_array_equal(data.samples[1].points[:2], [[-4, 4], [4, 89]])
    _, points = data[1]
    np.testing.assert_array_equal(points[:2], np.full((2, 2), np.nan))
    np.testing.assert_array_equal(points[2:], truth().points[1, 2:])
    np.testing.assert_array_equal(np.isnan(data[3][1]), [[True] * 2, *[[False] * 2] * 3])


def example(**fields: Any) -> Callable[[Rows], None]:
    return lambda rows: rows[1].update(fields)


def without(name: str) -> Callable[[Rows], None]:
    def spoil(rows: Rows) -> None:
        for row in rows:
            del row[name]

    return spoil


BROKEN_FLIC = {
    "no coords": (without("coords"), r"examples\(1\) has no field 'coords', only poselet_hit_idx"),
    "no split": (without("istrain"), r"examples\(1\) has no field 'istrain'"),
    "shape": (example(coords=np.ones((2, 5))), r"examples\(2\): coords should be 2x29, not \(2, 5"),
    "words": (example(coords="abc"), r"examples\(2\): coords should be numbers, not 'abc'"),
    "structs": (example(coords={"x": 1.0}), r"examples\(2\): coords should be numbers"),
    "imgdims": (example(imgdims=4.0), r"examples\(2\): imgdims should be \[height width 3\]"),
    "both parts": (example(istest=True), r"examples\(2\) is marked istrain and istest"),
    "odd part": (example(istest="no"), r"examples\(2\): istest should be a number, not 'no'"),
    "no name": (example(filepath=EMPTY), r"examples\(2\): filepath should be text, not array"),
    "empty name": (example(filepath=""), r"examples\(2\): (filepath should be text|the image's)"),
    "outside": (example(filepath="../../a.jpg"), r"examples\(2\): .*a\.jpg lies outside the data"),
    "unlabelled": (
        lambda rows: [row.update(coords=np.full((2, 29), np.nan)) for row in rows],
        r"test_a_broken_example.*: no image has a label",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), BROKEN_FLIC.values(), ids=BROKEN_FLIC)
def test_a_broken_example_is_named(
    tmp_path: Path, spoil: Callable[[Rows], object], message: str
) -> None:
    rows = flic_rows(truth(), NAMED)
    assert len(read(flic(tmp_path, rows))) == 8
    spoil(rows)
    with pytest.raises(DataError, match=message):
        read(flic(tmp_path, rows))


def test_a_variable_that_is_no_struct_array_is_an_error(tmp_path: Path) -> None:
    savemat(tmp_path / "examples.mat", {"examples": np.eye(3)})
    with pytest.raises(DataError, match=r"examples should be a struct array, not"):
        read(tmp_path)
    savemat(tmp_path / "examples.mat", {"examples": EMPTY})
    with pytest.raises(DataError, match=r"no image has a label"):
        read(tmp_path)


def test_a_image_of_another_size_than_flic_says_is_an_error(tmp_path: Path) -> None:
    save_images(tmp_path / "images", truth())
    Image.new("RGB", (6, 5)).save(tmp_path / "images" / "000.png")
    flic(tmp_path, flic_rows(truth(), NAMED))
    with pytest.raises(
        DataError, match=r"examples\(1\): 000\.png, which is 6x5, was labelled as 6"
    ):
        load(str(tmp_path))


IDS = (3, 2, 6, 9)
POINTS = truth().points[1]


def mpii(root: Path, people: Any, name: Any = "001.png") -> Path:
    savemat(root / "mpii.mat", mpii_release([(name, people)]))
    return root


def test_each_person_of_an_mpii_image_is_a_sample(tmp_path: Path) -> None:
    save_images(tmp_path / "images", truth())
    people = [
        mpii_person(POINTS, IDS, scale=0.1, objpos={"x": 21.0, "y": 31.0}),
        mpii_person(POINTS[:2], IDS[:2]),
        mpii_person(POINTS, IDS, annopoints=EMPTY),
        mpii_person(POINTS, IDS, scale=EMPTY),
        mpii_person(POINTS, IDS, objpos=EMPTY),
    ]
    data = read(mpii(tmp_path, structs(people)))
    assert [sample.where.rpartition(": ")[2] for sample in data.samples] == [
        "annolist(1).annorect(1)",
        "annolist(1).annorect(2)",
    ]
    assert data.joints == MPII
    assert data.left_out == ("2 annotations without a scale or a centre",)
    # A square of 25 pixels around (20, 30), shifted down by 1.5 and widened to whole pixels.
    picture, points = data[0]
    np.testing.assert_array_equal(np.asarray(picture), truth().images[1][19:44, 7:33])
    np.testing.assert_allclose(points[list(IDS)], POINTS - (7, 19))
    assert np.isnan(points).all(axis=1).sum() == 12
    assert np.isnan(data.samples[1].points).all(axis=1).sum() == 14


def test_one_person_with_one_point_is_read_like_many(tmp_path: Path) -> None:
    """SciPy makes a struct array of one element a single struct."""
    data = read(mpii(tmp_path, mpii_person(POINTS[:1], IDS[:1])))
    np.testing.assert_allclose(data.samples[0].points[IDS[0]], POINTS[0])


def points(*rows: tuple[float, Any, Any]) -> Any:
    return {"point": structs([{"id": i, "x": x, "y": y} for i, x, y in rows])}


BROKEN_MPII = {
    "id": ({"annopoints": points((16, 1, 1))}, r"annorect\(1\).*point\(1\): id should be 0 to 15"),
    "half id": ({"annopoints": points((0.5, 1, 1))}, r"point\(1\): id should be 0 to 15, not 0.5"),
    "twice": (
        {"annopoints": points((6, 1, 1), (6, 2, 2))},
        r"point\(2\): 'pelvis' has a point already",
    ),
    "word": ({"annopoints": points((6, "a", 1))}, r"point\(1\): x should be a number, not 'a'"),
    "NaN": ({"annopoints": points((6, 1, np.nan))}, r"point\(1\): y should be a number, not nan"),
    "no points": (
        {"annopoints": {"point": EMPTY}},
        r"test_a_broken_person.*: no image has a label",
    ),
    "no struct": (
        {"annopoints": 5.0},
        r"annorect\(1\)\.annopoints should be a struct array, not 5",
    ),
    "scale": ({"scale": "x"}, r"annorect\(1\): scale should be a number, not 'x'"),
    "no scale": ({"scale": 0.0}, r"annorect\(1\): scale should be positive, not 0"),
    "huge scale": ({"scale": 1e308}, r"annorect\(1\): the box's edges .* should be pixels"),
    "huge centre": ({"objpos": {"x": 1e300, "y": 1.0}}, r"annorect\(1\): the box's edges"),
    "centre": ({"objpos": {"x": 1.0}}, r"annorect\(1\)\.objpos has no field 'y', only x"),
}


@pytest.mark.parametrize(("fields", "message"), BROKEN_MPII.values(), ids=BROKEN_MPII)
def test_a_broken_person_is_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    assert len(read(mpii(tmp_path, mpii_person(POINTS, IDS)))) == 1
    with pytest.raises(DataError, match=message):
        read(mpii(tmp_path, mpii_person(POINTS, IDS, **fields)))


def test_a_broken_mpii_image_is_named(tmp_path: Path) -> None:
    person = mpii_person(POINTS, IDS)
    with pytest.raises(DataError, match=r"annolist\(1\): .*a\.png lies outside the data folder"):
        read(mpii(tmp_path, person, "../../a.png"))
    with pytest.raises(DataError, match=r"annolist\(1\)\.image: name should be text, not 5"):
        read(mpii(tmp_path, person, 5.0))
    savemat(tmp_path / "mpii.mat", {"RELEASE": {"version": "12"}})
    with pytest.raises(DataError, match=r"RELEASE has no field 'annolist', only version"):
        read(tmp_path)


def test_a_box_beside_the_image_is_an_error(tmp_path: Path) -> None:
    save_images(tmp_path / "images", truth())
    mpii(tmp_path, mpii_person(POINTS, IDS, objpos={"x": 900.0, "y": 5.0}))
    with pytest.raises(DataError, match=r"annorect\(1\): the box .* lies outside 001\.png, which"):
        read(tmp_path)[0]


def test_mpiis_real_validation_people_come_back(tmp_path: Path) -> None:
    """Write real points, scales and centres in the published structure, and read them."""
    if not DATA.exists():
        missing(str(DATA))
    with framework("h5py").File(DATA / "mpii-validation" / "valid.h5") as file:
        part, names = file["part"][:400], [name.decode() for name in file["imgname"][:400]]
        centre, scale = file["center"][:400], file["scale"][:400]
    part[(part == 0).all(axis=2)] = np.nan
    images = [
        (name, mpii_person(p - 1, range(16), scale=s, objpos={"x": x, "y": y}))
        for name, p, s, (x, y) in zip(names, part, scale, centre, strict=True)
    ]
    savemat(tmp_path / "mpii.mat", mpii_release(images))
    data = read(tmp_path)
    np.testing.assert_array_equal([sample.points for sample in data.samples], part - 1)
    assert [sample.image.name for sample in data.samples] == names
    boxes = np.array([sample.box for sample in data.samples])
    inside = (part - 1 >= boxes[:, None, :2]) & (part - 1 <= boxes[:, None, 2:])
    assert inside.all(axis=2)[~np.isnan(part).any(axis=2)].mean() > 0.99


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_file_cut_short_is_an_error(tmp_path: Path, compressed: bool, share: float) -> None:
    path = tmp_path / "examples.mat"
    rows = {"examples": structs(flic_rows(truth(), NAMED))}
    savemat(path, rows, do_compression=compressed)
    assert len(read(path)) == 8
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=r"examples\.mat can't be read .*: it is truncated; copy"):
        read(path)


def test_any_changed_byte_of_a_compressed_file_is_noticed(tmp_path: Path) -> None:
    """SciPy alone would continue, and has crashed."""
    path = tmp_path / "examples.mat"
    savemat(path, {"examples": structs(flic_rows(truth(), NAMED))}, do_compression=True)
    verify_checksums(path)
    whole = path.read_bytes()
    harmless = 0
    for place in range(136, len(whole)):
        changed = whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :]
        path.write_bytes(changed)
        try:
            verify_checksums(path)
        except (ValueError, zlib.error):
            continue
        # A few bits of the format have no effect on the unpacked data.
        assert zlib.decompress(changed[136:]) == zlib.decompress(whole[136:])
        harmless += 1
    assert harmless <= 2
