"""The same tests on the same data set in every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mapdrop.localize.data import DataError, ImagesError, LoadOptions, load, read, recognise, swaps
from tests.localize.data.writers import FORMATS, structs, truth

EVERY = pytest.mark.parametrize("name", FORMATS)


def written(name: str, root: Path) -> tuple[str, ...]:
    """Writes the data set; returns the joints in the order of the truth."""
    write, joints, _ = FORMATS[name]
    write(root, truth(), joints)
    return joints


@EVERY
def test_every_format_gives_the_same_samples(name: str, tmp_path: Path) -> None:
    joints, data = written(name, tmp_path), truth()
    dataset = read(tmp_path, joints)
    assert dataset.joints == joints
    assert len(dataset) == 8
    for index, image in enumerate(data.images):
        picture, points = dataset[index]
        np.testing.assert_array_equal(np.asarray(picture), image)
        np.testing.assert_allclose(points, data.points[index], atol=1e-12)
        np.testing.assert_array_equal(np.isnan(points), np.isnan(data.points[index]))


@EVERY
def test_without_a_choice_the_joints_are_the_data_sets_own(name: str, tmp_path: Path) -> None:
    joints = written(name, tmp_path)
    dataset = read(tmp_path)
    assert set(joints) <= set(dataset.joints)
    assert len(dataset.joints) == (16 if name == "mpii" else 4)
    own = read(tmp_path, joints)
    columns = [dataset.joints.index(joint) for joint in joints]
    for all_of_them, chosen in zip(dataset.samples, own.samples, strict=True):
        np.testing.assert_array_equal(all_of_them.points[columns], chosen.points)


@EVERY
def test_joints_are_in_the_selected_order_and_their_pairs_are_known(
    name: str, tmp_path: Path
) -> None:
    joints = written(name, tmp_path)
    asked = (joints[3], joints[1], joints[0])
    dataset = read(tmp_path, asked)
    assert dataset.joints == asked
    np.testing.assert_allclose(dataset.samples[1].points, truth().points[1, [3, 1, 0]])
    np.testing.assert_array_equal(swaps(dataset.joints), [0, 2, 1])


@EVERY
def test_an_image_without_the_selected_joints_is_left_out(name: str, tmp_path: Path) -> None:
    joints = written(name, tmp_path)
    dataset = read(tmp_path, joints[:1])
    assert [sample.image.name for sample in dataset.samples] == truth().files[1::2]


@EVERY
def test_reading_opens_no_image(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(name, tmp_path)

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("an image was opened")

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", opened)
        dataset = read(tmp_path)
    assert len(dataset) == 8
    # The guard fails when an image is opened.
    monkeypatch.setattr(Image, "open", opened)
    with pytest.raises((AssertionError, DataError), match="an image was opened"):
        dataset[0]


@EVERY
def test_load_splits_and_fits(name: str, tmp_path: Path) -> None:
    joints, original = written(name, tmp_path), truth()
    request = LoadOptions(train_size=5, test_size=2, size=(32, 32), bodyparts=joints, seed=1)
    data = load(str(tmp_path), request)
    assert data.images.shape == (7, 32, 32, 3)
    assert (len(data.train), len(data.test)) == (5, 2)
    assert sorted([*data.train, *data.test]) == list(range(7))
    back = (data.points + 0.5) * data.scale[:, None, None] - 0.5
    for points in back:
        matches = [np.allclose(points, p, equal_nan=True) for p in original.points]
        assert sum(matches) == 1


@EVERY
def test_a_file_stands_for_its_folder(name: str, tmp_path: Path) -> None:
    joints, file = written(name, tmp_path), FORMATS[name][2]
    if name == "mpii":  # Its images lie beside the file's folder, so move the file there.
        file = "mpii.mat"
        (tmp_path / "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat").rename(tmp_path / file)
    assert recognise(tmp_path / file) is recognise(tmp_path)
    of_file, of_folder = read(tmp_path / file, joints), read(tmp_path, joints)
    for one, other in zip(of_file.samples, of_folder.samples, strict=True):
        assert one.image == other.image
        np.testing.assert_array_equal(one.points, other.points)


@EVERY
def test_an_unknown_joint_is_an_error_with_the_likeliest(name: str, tmp_path: Path) -> None:
    joints = written(name, tmp_path)
    wrong = joints[0] + "x"
    with pytest.raises(
        DataError, match=r"no body part '.*x'; did you mean '.*'\? it has "
    ) as error:
        read(tmp_path, (wrong,))
    assert repr(joints[0]) in str(error.value)
    with pytest.raises(DataError, match=r"the joint '.*' is selected twice; .* --bodyparts"):
        read(tmp_path, (joints[0], joints[1], joints[0]))


@EVERY
def test_all_unusable_images_are_reported_at_once(name: str, tmp_path: Path) -> None:
    joints = written(name, tmp_path)
    images = [sample.image.path for sample in read(tmp_path).samples]
    images[1].unlink()
    images[4].write_bytes(b"not an image")
    Image.fromarray(np.zeros((60, 40), np.uint16)).save(images[5])
    request = LoadOptions(train_size=6, test_size=2, bodyparts=joints)
    with pytest.raises(ImagesError, match=r"^3 problems with 8 images:\n") as error:
        load(str(tmp_path), request)
    lines = str(error.value).splitlines()
    assert len(lines) == 4
    assert f"there is no image {images[1]}; restore it" in lines[1]
    assert f"{images[4]} can't be read as an image" in lines[2]
    assert f"{images[5]} has more than 8 bits" in lines[3]


@EVERY
def test_a_name_that_leads_out_of_the_folder_is_an_error(name: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (64, 48)).save(secret)
    root = tmp_path / "data"
    written(name, root)
    victim = read(root).samples[2].image.path
    assert read(root).samples[2].image.path == victim
    victim.unlink()
    victim.symlink_to(secret)
    with pytest.raises(DataError, match=r": .* lies outside the data folder .*; move it there"):
        read(root)
    victim.unlink()
    victim.symlink_to(victim.with_name("000.png"))  # A link that stays inside is harmless.
    if name not in (
        "deeplabcut",
        "deeplabcut-h5",
        "table",
    ):  # For these it is the same image, labelled twice.
        assert read(root).samples[2].image.name == "000.png"


def test_a_folder_of_no_known_kind_lists_what_is_known_and_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"has no known format: it is empty\. DATA can be: scenes; "
    ):
        read(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "a.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match=r"the folder holds a\.csv, a\.json, notes/") as error:
        read(tmp_path)
    for sought in ("DeepLabCut project", "person_keypoints_*.json", "examples.mat", "mpii_human"):
        assert sought in str(error.value)
    assert "image,joint,x,y" in str(error.value)


def test_a_full_folder_is_not_listed_completely(tmp_path: Path) -> None:
    for index in range(30):
        (tmp_path / f"{index:02}.txt").write_text("")
    with pytest.raises(DataError, match=r"10\.txt, 11\.txt and 18 more\."):
        read(tmp_path)


def test_an_unknown_file_and_a_missing_one_have_different_messages(tmp_path: Path) -> None:
    (tmp_path / "a.doc").write_text("")
    with pytest.raises(DataError, match=r"ends in none of \.json, \.mat, \.csv"):
        read(tmp_path / "a.doc")
    with pytest.raises(DataError, match=r"there is no such file or folder"):
        read(tmp_path / "b.doc")


def test_a_matlab_file_of_something_else_names_its_variables(tmp_path: Path) -> None:
    from scipy.io import savemat

    savemat(tmp_path / "a.mat", {"weights": np.eye(3), "rows": structs([{"a": 1.0}])})
    with pytest.raises(DataError, match=r"the file's variables are weights, rows\. DATA can be"):
        read(tmp_path / "a.mat")
    (tmp_path / "a.mat").write_bytes(
        b"MATLAB 7.3 MAT-file" + bytes(105) + b"\x00\x02IM" + bytes(99)
    )
    with pytest.raises(DataError, match=r"of version 7\.3; save it in MATLAB with -v7"):
        read(tmp_path / "a.mat")
    (tmp_path / "a.mat").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.mat can't be read as a MATLAB file: .*copy it again"):
        read(tmp_path / "a.mat")


def test_two_kinds_in_one_folder_are_not_guessed_between(tmp_path: Path) -> None:
    written("table", tmp_path)
    written("flic", tmp_path)
    with pytest.raises(
        DataError, match=r"several formats, FLIC's .* and a table .*; pass the file"
    ):
        read(tmp_path)
    assert len(read(tmp_path / "points.csv").joints) == 4
