"""DeepLabCut projects: a real one, and everything that can be wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mapdrop.localize.data import DataError, KeypointData, LoadOptions, load
from mapdrop.localize.data import read as labels
from tests.conftest import DATA, missing

MOUSE = DATA / "mouse-openfield"
CONFIG = "scorer: Ann\nbodyparts:\n- nose\n- tail\n"
HEADER = "scorer,Ann,Ann,Ann,Ann\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"
ROWS = "".join(f"labeled-data/v/{i}.png,{10 + i},20,{30 + i}.5,40.25\n" for i in range(4))


def project(root: Path, table: str = HEADER + ROWS, config: str = CONFIG) -> Path:
    """Write a project of four 64x48 frames; return its table."""
    folder = root / "labeled-data" / "v"
    folder.mkdir(parents=True)
    (root / "config.yaml").write_text(config)
    for i in range(4):
        Image.new("RGB", (64, 48), (60 * i, 0, 0)).save(folder / f"{i}.png")
    path = folder / "CollectedData_Ann.csv"
    path.write_text(table)
    return path


def read(root: Path, **options: Any) -> KeypointData:
    return load(str(root), LoadOptions(train_size=2, size=(64, 48), **options))


@pytest.fixture
def mouse() -> Path:
    if not MOUSE.exists():
        missing(f"the data folder {MOUSE}")
    return MOUSE


def test_the_real_project(mouse: Path) -> None:
    data = load(str(mouse))
    assert data.name == "mouse-openfield"
    assert data.joints == ("snout", "leftear", "rightear", "tailbase")
    assert data.images.shape == (116, 120, 160, 3)
    assert (len(data.train), len(data.test)) == (40, 76)
    assert not set(data.train) & set(data.test)
    np.testing.assert_array_equal(data.scale, 4)
    original = (data.points + 0.5) * 4 - 0.5
    np.testing.assert_allclose(original[0, 0], [21.521, 265.428])
    np.testing.assert_allclose(original[115, 3], [92.746, 192.154])
    # The first frame at its working size is the mean of 4x4 pixels of the file, rounded twice.
    with Image.open(mouse / "labeled-data/m4s1/img0000.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), float)
    mean = pixels.reshape(120, 4, 160, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(data.images[0], mean, atol=1.01)


def test_body_parts_are_in_the_selected_order(mouse: Path) -> None:
    both = load(str(mouse))
    some = load(
        str(mouse), LoadOptions(bodyparts=("tailbase", "snout"), train_size=10, test_size=20)
    )
    assert some.joints == ("tailbase", "snout")
    assert (len(some.train), len(some.test), len(some.points)) == (10, 20, 30)
    # The split is drawn from one permutation, and images stay in the order of the file.
    chosen = np.sort(np.random.default_rng(0).permutation(116)[:30])
    np.testing.assert_array_equal(some.points, both.points[chosen][:, [3, 0]])
    np.testing.assert_array_equal(some.images, both.images[chosen])


def test_the_seed_decides_the_split(tmp_path: Path) -> None:
    project(tmp_path)
    splits = {tuple(read(tmp_path, seed=seed).train.tolist()) for seed in range(20)}
    assert len(splits) > 2
    np.testing.assert_array_equal(read(tmp_path, seed=3).train, read(tmp_path, seed=3).train)


def test_empty_cells_and_nan_are_missing_joints(tmp_path: Path) -> None:
    table = HEADER + "labeled-data/v/0.png,,,1,2\nlabeled-data/v/1.png,3,4,NaN,nan\n"
    table += "labeled-data/v/2.png,5,6,7,8\nlabeled-data/v/3.png,,,,\n"
    project(tmp_path, table)
    data = load(str(tmp_path), LoadOptions(train_size=1, test_size=2, size=(64, 48), seed=2))
    assert data.images.shape[0] == 3  # The frame without any label is left out.
    np.testing.assert_array_equal(np.isnan(data.points[:, 0, 0]), [True, False, False])
    np.testing.assert_array_equal(np.isnan(data.points[:, 1, 1]), [False, True, False])


def test_the_path_may_stand_in_three_cells(tmp_path: Path) -> None:
    table = "scorer,,,Ann,Ann,Ann,Ann\nbodyparts,,,nose,nose,tail,tail\ncoords,,,x,y,x,y\n"
    project(tmp_path, table + ROWS.replace("/", ","))
    np.testing.assert_allclose(read(tmp_path).points[1], [[11.0, 20.0], [31.5, 40.25]])


def test_windows_paths_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    project(tmp_path, "\ufeff" + HEADER + ROWS.replace("/", "\\"))
    assert len(read(tmp_path).images) == 4


def test_frames_of_another_shape_keep_their_aspect(tmp_path: Path) -> None:
    project(tmp_path)
    Image.new("RGB", (48, 60), "white").save(tmp_path / "labeled-data/v/0.png")
    data = read(tmp_path)
    np.testing.assert_allclose(data.scale, [1.25, 1.0, 1.0, 1.0])
    assert (data.images[0, :, :38] == 255).all()
    assert (data.images[0, :, 38:] == 0).all()
    np.testing.assert_allclose(data.points[0, 0], [10.5 / 1.25 - 0.5, 20.5 / 1.25 - 0.5])


BROKEN_TABLES = {
    "word": (ROWS.replace("30.5", "abc"), r"Ann\.csv:4: 'abc' is not a number"),
    "infinite": (ROWS.replace("31.5", "inf"), r"Ann\.csv:5: 'inf' is not a number"),
    "short row": (ROWS + "labeled-data/v/9.png,1,2\n", r"Ann\.csv:8: 3 cells where .* has 5"),
    "long row": (ROWS.replace("20,", "20,20,", 1), r"Ann\.csv:4: 6 cells where .* has 5"),
    "no image": (ROWS.replace("v/2", "v/7"), r"Ann\.csv:6: there is no image .*7\.png; restore"),
    "half a label": (ROWS.replace("12,20", "12,"), r"Ann\.csv:6: one of x='12', y='' is missing"),
    "outside frame": (ROWS.replace("13,20", "99,20"), r"csv:7: \(99, 20\) lies outside 3\.png"),
    "outside folder": (
        ROWS.replace("labeled-data/v/1", "../../secret"),
        r"Ann\.csv:5: .*secret\.png lies outside the data folder",
    ),
    "absolute": (ROWS.replace("labeled-data/v/1.png", __file__), r"csv:5: .*\.py lies outside"),
    "twice": (ROWS.replace("v/3", "v/2"), r"csv:7: 2\.png was labelled in .*csv:6 already"),
    "no labels": ("", r"no image has a label"),
}


@pytest.mark.parametrize(("rows", "message"), BROKEN_TABLES.values(), ids=BROKEN_TABLES)
def test_a_broken_row_is_named_with_its_line(tmp_path: Path, rows: str, message: str) -> None:
    project(tmp_path, HEADER + rows)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


BROKEN_HEADERS = {
    "empty": ("", "the 3 header rows are missing"),
    "no scorer": (HEADER.replace("scorer", "who") + ROWS, r"csv:1: expected a row 'scorer'"),
    "several animals": (
        HEADER.replace("bodyparts", "individuals,a,a,b,b\nbodyparts") + ROWS,
        r"csv:5: several animals are labelled \(a, b\), and only one in an image",
    ),
    "a part of two animals": (
        HEADER.replace("bodyparts", "individuals,a,b,b,b\nbodyparts") + ROWS,
        r"csv:3: each body part should head one x and one y",
    ),
    "individuals only": ("scorer,Ann\nindividuals,a\n", "the 4 header rows are missing"),
    "axes": (HEADER.replace("x,y,x,y", "x,y,y,x") + ROWS, r"csv:3: expected coords,x,y"),
    "no axes": (HEADER.replace("x,y,x,y", "a,b,c,d") + ROWS, r"csv:3: expected coords,x,y"),
    "odd names": (HEADER.replace("nose,nose", "nose,ear") + ROWS, r"csv:2: each body part"),
    "one name twice": (HEADER.replace("tail,tail", "nose,nose") + ROWS, r"csv:2: each body part"),
    "missing part": (HEADER.replace("tail", "tali") + ROWS, r"csv:2: no body part 'tail'; did you"),
}


@pytest.mark.parametrize(("table", "message"), BROKEN_HEADERS.values(), ids=BROKEN_HEADERS)
def test_a_broken_header_is_named_with_its_line(tmp_path: Path, table: str, message: str) -> None:
    project(tmp_path, table)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


BROKEN_CONFIGS = {
    "not YAML": ("bodyparts: [", "is not valid YAML"),
    "a list": ("- nose", "should hold settings"),
    "empty": ("", "should hold settings"),
    "no parts": ("scorer: Ann", "should list the body parts"),
    "parts of several animals": (CONFIG + "multianimalproject: true", "'multianimalbodyparts:' sh"),
    "other scorer": (
        CONFIG.replace("Ann", "Bob"),
        r"no \*/CollectedData_Bob\.csv .*labels of Ann; corr",
    ),
    "code": ("!!python/object/apply:os.getcwd []", "should list|should hold settings"),
    "code for names": ("bodyparts: !!python/object/apply:os.getcwd []", "should list the body"),
    "code for a name": ("bodyparts: [!!python/name:os.getcwd x]", "should list the body parts"),
    "a list in the list": ("bodyparts: [[nose], tail]", "should list the body parts"),
    "no name": ("bodyparts: [nose, '']", "should list the body parts"),
    "deep": ("x: " + 5000 * "[", "is not valid YAML"),
    "any scorer": (CONFIG.replace("Ann", "'**'"), r"no \*/CollectedData_\*\*\.csv"),
    "a scorer elsewhere": (
        CONFIG.replace("Ann", "/../v/CollectedData_Ann"),
        "no .*; correct 'scorer:'",
    ),
    "a date for a name": ("bodyparts: [2024-13-45]", "no body part '2024-13-45'"),
    "nine to the eighth": (
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{i + 1}: &a{i + 1} [{', '.join(9 * [f'*a{i}'])}]\n" for i in range(7))
        + "bodyparts: *a7",
        "should list the body parts",
    ),
    "itself": ("bodyparts: &a [*a]", "should list the body parts"),
    "huge": ("#" * (1 << 22) + "\n" + CONFIG, "more than 4194304 bytes"),
}


@pytest.mark.parametrize(("config", "message"), BROKEN_CONFIGS.values(), ids=BROKEN_CONFIGS)
def test_a_broken_config_is_an_error(tmp_path: Path, config: str, message: str) -> None:
    project(tmp_path, config=config)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    "more",
    ["date: 2024-13-45", "seed: " + 5000 * "9", "x: !!python/name:os.getcwd ", "y: &a [*a]"],
    ids=["no date", "long number", "code", "itself"],
)
def test_what_is_not_used_of_a_config_is_not_read(tmp_path: Path, more: str) -> None:
    project(tmp_path, config=CONFIG + more)
    assert read(tmp_path).joints == ("nose", "tail")


# Three versions of YAML's rules have been in use, and pandas writes what came out as text.
SPELLINGS = {
    "a true one": ("on", "True"),
    "as it is": ("on", "on"),
    "zeros": ("01", "1"),
    "octal": ("010", "8"),
    "decimal": ("010", "10"),
    "underscores": ("1_1", "11"),
    "an exponent": ("1e3", "1000.0"),
    "nothing": ("~", "None"),
    "a date": ("2024-01-02", "2024-01-02"),
    "no date": ("2024-13-45", "2024-13-45"),
    "quotes": ("'01'", "01"),
    "brackets": ("ear[left]", "ear[left]"),
    "Python's text": ("!!python/unicode 'ear'", "ear"),
}


@pytest.mark.parametrize(("config", "written"), SPELLINGS.values(), ids=SPELLINGS)
def test_names_are_found_however_a_reader_of_yaml_spells_them(
    config: str, written: str, tmp_path: Path
) -> None:
    header = HEADER.replace("nose", written).replace("Ann", written)
    table = project(tmp_path, header + ROWS, f"scorer: {config}\nbodyparts:\n- {config}\n- tail\n")
    table.rename(table.with_name(f"CollectedData_{written}.csv"))
    assert read(tmp_path).joints == (written, "tail")


def test_a_name_in_quotes_is_no_number(tmp_path: Path) -> None:
    project(tmp_path, HEADER.replace("nose", "1") + ROWS, CONFIG.replace("nose", "'01'"))
    with pytest.raises(DataError, match="no body part '01'"):
        read(tmp_path)


OLD_CONFIGS = {
    "tuple of parts": "scorer: Ann\nbodyparts: !!python/tuple [nose, tail]\n",
    "tuple as a key": CONFIG + "? !!python/tuple [a, b]\n: 1\n",
    "objects": CONFIG + "video: !!python/object/apply:pathlib.WindowsPath [C, x]\n",
    "videos on Windows": CONFIG + "video_sets:\n  C:\\Users\\u\\v.mp4:\n    crop: 0, 64, 0, 48\n",
}


@pytest.mark.parametrize("config", OLD_CONFIGS.values(), ids=OLD_CONFIGS)
def test_old_configs_are_read(config: str, tmp_path: Path) -> None:
    project(tmp_path, config=config)
    assert read(tmp_path).joints == ("nose", "tail")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_config_may_have_any_encoding_where_names_need_none(
    encoding: str, tmp_path: Path
) -> None:
    project(tmp_path)
    config = (CONFIG + "project_path: C:\\Users\\Zoë\n").encode(encoding)
    (tmp_path / "config.yaml").write_bytes(config)
    assert read(tmp_path).joints == ("nose", "tail")


@pytest.mark.parametrize("name", ["Ann", "nose"])
def test_a_name_in_an_unknown_encoding_is_an_error_with_the_remedy(
    name: str, tmp_path: Path
) -> None:
    project(tmp_path)
    (tmp_path / "config.yaml").write_bytes(CONFIG.replace(name, "Zoë").encode("cp1252"))
    with pytest.raises(DataError, match=r"config\.yaml is not in UTF-8, but .*; save it as UTF-8"):
        read(tmp_path)


PATHS = {
    "beside the table": "",
    "Windows": "labeled-data\\v\\",
    "this computer": "{root}/labeled-data/v/",
    "another computer": "C:\\Users\\u\\project\\labeled-data\\v\\",
    "another project": "D:\\v\\",
}


@pytest.mark.parametrize("before", PATHS.values(), ids=PATHS)
def test_images_are_found_by_any_path(before: str, tmp_path: Path) -> None:
    project(tmp_path, HEADER + ROWS.replace("labeled-data/v/", before.format(root=tmp_path)))
    beside = tmp_path.resolve() / "labeled-data" / "v"
    found = [sample.image.path for sample in labels(tmp_path).samples]
    assert found == [beside / f"{number}.png" for number in range(4)]


def test_a_file_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    project(tmp_path).write_bytes(b"\xff\xfe\x00scorer")
    with pytest.raises(DataError, match=r"Ann\.csv can't be read as CSV"):
        read(tmp_path)


def test_a_damaged_image_is_named_with_the_row_that_wants_it(tmp_path: Path) -> None:
    table = project(tmp_path)
    image = table.with_name("1.png")
    image.write_bytes(image.read_bytes()[:60])
    with pytest.raises(DataError, match=r"Ann\.csv:5: .*1\.png can't be read as an image"):
        read(tmp_path)


def test_a_image_of_sixteen_bits_is_refused_rather_than_clipped(tmp_path: Path) -> None:
    table = project(tmp_path)
    Image.fromarray(np.full((48, 64), 3000, np.uint16)).save(table.with_name("0.png"))
    with pytest.raises(DataError, match=r"csv:4: .*0\.png has more than 8 bits"):
        read(tmp_path)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    Image.new("RGB", (64, 48)).save(outside)
    table = project(tmp_path / "project")
    table.with_name("3.png").unlink()
    table.with_name("3.png").symlink_to(outside)
    with pytest.raises(DataError, match=r"csv:7: .*3\.png lies outside the data folder"):
        read(tmp_path / "project")


def second_video(root: Path, rows: str) -> Path:
    """Add the video w, whose table has the joints in the other order."""
    folder = root / "labeled-data" / "w"
    folder.mkdir()
    Image.new("RGB", (32, 24), "white").save(folder / "0.png")
    table = folder / "CollectedData_Ann.csv"
    table.write_text(HEADER.replace("nose,nose,tail,tail", "tail,tail,nose,nose") + rows)
    return table


def test_all_videos_of_a_project_are_read(tmp_path: Path) -> None:
    project(tmp_path)
    second_video(tmp_path, "labeled-data/w/0.png,1,2,3,4\n")
    (tmp_path / "labeled-data" / "not labelled yet").mkdir()
    data = read(tmp_path)
    assert len(data.images) == 5
    np.testing.assert_allclose(data.points[:4, 0, 0], [10, 11, 12, 13])
    np.testing.assert_allclose((data.points[4] + 0.5) / 2 - 0.5, [[3, 4], [1, 2]])
    np.testing.assert_allclose(data.scale, [1, 1, 1, 1, 0.5])


def test_one_frame_in_two_videos_tables_is_an_error(tmp_path: Path) -> None:
    project(tmp_path)
    second_video(tmp_path, "labeled-data/v/2.png,1,2,3,4\n")
    with pytest.raises(DataError, match=r"w/.*csv:4: 2\.png was labelled in .*/v/.*csv:6 already"):
        read(tmp_path)


MANY = "scorer: Ann\nmultianimalproject: true\nbodyparts: MULTI!\n"
ONE_ANIMAL = MANY + "multianimalbodyparts: [nose, tail]\nuniquebodyparts: []\n"
ONE_PART = MANY + "multianimalbodyparts: [nose]\nuniquebodyparts: [tail]\n"


def four(*columns: str) -> str:
    """Write a header of columns such as 'mouse nose'."""
    pairs = [tuple(column.split()) for column in columns for _ in "xy"]
    rows = ["Ann" for _ in pairs], *zip(*pairs, strict=True), ["x", "y"] * len(columns)
    titles = ("scorer", "individuals", "bodyparts", "coords")
    return "".join(f"{','.join([t, *row])}\n" for t, row in zip(titles, rows, strict=True))


INDIVIDUALS = {
    "one": (("mouse nose", "mouse tail"), "{0}.png,{1},20,30,40", ONE_ANIMAL),
    "one, and a part that exists once": (
        ("mouse nose", "single tail"),
        "{0}.png,{1},20,30,40",
        ONE_PART,
    ),
    "one of two": (
        ("a nose", "a tail", "b nose", "b tail"),
        "{0}.png,,,,,{1},20,30,40",
        CONFIG + "multianimalproject: false\n",
    ),
    "only parts that exist once": (
        ("single nose", "single tail"),
        "{0}.png,{1},20,30,40",
        MANY + "multianimalbodyparts: []\nuniquebodyparts: [nose, tail]\n",
    ),
}


@pytest.mark.parametrize(("columns", "row", "config"), INDIVIDUALS.values(), ids=INDIVIDUALS)
def test_one_animal_of_a_project_of_several_is_read(
    columns: tuple[str, ...], row: str, config: str, tmp_path: Path
) -> None:
    rows = "".join(f"{row.format(number, 10 + number)}\n" for number in range(4))
    project(tmp_path, four(*columns) + rows, config)
    data = labels(tmp_path, ("nose", "tail"))
    for number, sample in enumerate(data.samples):
        np.testing.assert_array_equal(sample.points, [[10 + number, 20], [30, 40]])
    assert len(data) == 4
    assert labels(tmp_path).joints == ("nose", "tail")


def test_each_image_may_have_another_animal(tmp_path: Path) -> None:
    rows = "0.png,1,2,,\n1.png,,,3,4\n2.png,,,,\n"
    project(tmp_path, four("a nose", "b nose") + rows, CONFIG.replace("- tail\n", ""))
    np.testing.assert_array_equal(
        [sample.points[0] for sample in labels(tmp_path).samples], [[1, 2], [3, 4]]
    )


def test_a_video_without_one_of_the_joints_is_named(tmp_path: Path) -> None:
    project(tmp_path)
    table = second_video(tmp_path, "labeled-data/w/0.png,1,2,3,4\n")
    table.write_text(table.read_text().replace("nose", "noes"))
    with pytest.raises(DataError, match=r"w/.*csv:2: no body part 'nose'; did you mean 'noes'"):
        read(tmp_path)


def test_the_config_stands_for_its_folder(tmp_path: Path) -> None:
    project(tmp_path)
    assert read(tmp_path / "config.yaml").name == read(tmp_path).name == tmp_path.name


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(DataError, match=r"config\.yaml is missing"):
        read(tmp_path)


def test_an_unknown_body_part_is_an_error_with_what_there_is(tmp_path: Path) -> None:
    project(tmp_path)
    with pytest.raises(DataError, match=r"csv:2: no body part 'noes'; did you mean 'nose'\?"):
        read(tmp_path, bodyparts=("noes",))
    with pytest.raises(DataError, match=r"csv:2: no body part 'wing'; it has nose, tail"):
        read(tmp_path, bodyparts=("wing",))
    with pytest.raises(DataError, match=r"csv:2: .* 'nose' is selected twice; .* --bodyparts"):
        read(tmp_path, bodyparts=("nose", "tail", "nose"))


def test_too_few_frames_are_an_error(tmp_path: Path) -> None:
    project(tmp_path)
    with pytest.raises(DataError, match=r"has 4 labelled images, not enough for 4 to train and 1"):
        load(str(tmp_path), LoadOptions(train_size=4))


def test_a_joint_that_is_never_labelled_is_an_error(tmp_path: Path) -> None:
    project(tmp_path, HEADER + "".join(f"labeled-data/v/{i}.png,{10 + i},20,,\n" for i in range(4)))
    with pytest.raises(DataError, match=r"none of the 2 training images has 'tail' labelled"):
        read(tmp_path)


def test_a_folder_of_no_known_kind_lists_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"scenes; a DeepLabCut project folder"):
        load(str(tmp_path))
