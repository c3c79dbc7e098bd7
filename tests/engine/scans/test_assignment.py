"""Which file is which modality."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Message
from napari_ossnet.engine.scans.assignment import (
    assign_images,
    guess_modality,
    load_scan,
    split_image,
    stack_volumes,
)
from napari_ossnet.engine.tasks import Task, get_task
from napari_ossnet.engine.volume import Volume, read_volume


@pytest.fixture
def brats() -> Task:
    return get_task("brats")


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("BraTS20_Training_001_flair.nii.gz", "flair"),
        ("BraTS20_Training_001_t1ce.nii", "t1ce"),
        ("BraTS-GLI-00000-000-t1c.nii.gz", "t1ce"),
        ("BraTS-GLI-00000-000-t1n.nii.gz", "t1"),
        ("BraTS-GLI-00000-000-t2f.nii.gz", "flair"),
        ("BraTS-GLI-00000-000-t2w.nii.gz", "t2"),
        ("FLAIR.nrrd", "flair"),
        ("patient 07 T1Gd.mha", "t1ce"),
        ("case.01.FLA.nii.gz", "flair"),
        ("t1.nii.gz", "t1"),
        ("sub-01_T1w.nii.gz", "t1"),
        ("sub-01_ce-gadolinium_T1w.nii.gz", "t1ce"),
        ("T2-FLAIR.nii.gz", "flair"),
        ("case_t1_gd.nii.gz", "t1ce"),
        ("case_T1_post.nii.gz", "t1ce"),
        ("case t1 pre", "t1"),
        ("scan.nii.gz", None),
        ("t1_t2.nii.gz", None),
        ("flair_t1_t1ce_t2.nii.gz", None),
        ("t1_t1ce_t2_flair.nii.gz", None),
        ("xt1.nii.gz", None),
        ("flairs.nii.gz", None),
        ("t11.nii.gz", None),
        ("patient07_seg.nii.gz", None),
    ],
)
def test_whole_words_in_either_case_name_the_modality(brats: Task, name: str, modality: str | None) -> None:
    assert guess_modality(brats, name) == modality


def test_a_task_of_one_modality_takes_any_name() -> None:
    assert guess_modality(get_task("lits"), "whatever") == "ct"
    assert assign_images(get_task("hippocampus"), ["a/b.nii"]) == {"mr": Path("a/b.nii")}


def test_the_assignment_is_in_the_tasks_order(brats: Task) -> None:
    assigned = assign_images(brats, ["x_t2.nii", "x_t1.nii", "x_flair.nii", "x_t1ce.nii"])
    assert list(assigned.items()) == [
        ("flair", Path("x_flair.nii")),
        ("t1", Path("x_t1.nii")),
        ("t1ce", Path("x_t1ce.nii")),
        ("t2", Path("x_t2.nii")),
    ]


def test_folders_do_not_take_part_in_the_guess(brats: Task) -> None:
    with pytest.raises(InputError, match=r"Can't tell which modality scan\.nii"):
        assign_images(brats, ["t1/scan.nii", "t2/t2.nii"])


def test_a_modality_may_be_said_outright(brats: Task) -> None:
    said = ["FLAIR=a.nii", "t1=t2.nii", "t1gd=c.nii", "t2=d=e.nii"]
    assert assign_images(brats, said) == {
        "flair": Path("a.nii"),
        "t1": Path("t2.nii"),
        "t1ce": Path("c.nii"),
        "t2": Path("d=e.nii"),
    }


def test_a_file_whose_name_holds_an_equals_sign_is_a_file(
    brats: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("case=1_flair.nii").touch()
    with pytest.raises(InputError, match="No image for t1, t1ce, t2"):
        assign_images(brats, ["case=1_flair.nii"])


def test_a_single_file_of_no_modality_stands_for_all(brats: Task) -> None:
    assert set(assign_images(brats, ["BRATS_001.nii.gz"]).values()) == {Path("BRATS_001.nii.gz")}


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        ([], "No image given, 'brats' needs flair, t1, t1ce, t2"),
        (["a_flair.nii", "a_t1.nii", "a_t2.nii"], "No image for t1ce:"),
        (["a_flair.nii"], "No image for t1, t1ce, t2:"),
        (["a_t1.nii", "b_t1n.nii"], r"Two images for t1, a_t1\.nii and b_t1n\.nii"),
        (["t1=a.nii", "b_t1.nii"], "Two images for t1,"),
        (["a_flair.nii", "a_seg.nii"], r"Can't tell which modality a_seg\.nii is.*flair=a_seg\.nii"),
        (["pet=a.nii"], r"no modality 'pet' \(in pet=a\.nii\), only flair, t1, t1ce, t2"),
        (["flair=a.nii"], "No image for t1, t1ce, t2"),
    ],
)
def test_what_can_not_be_assigned_is_told_in_one_sentence(brats: Task, images: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        assign_images(brats, images)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_two_files_for_a_task_of_one_are_refused() -> None:
    with pytest.raises(InputError, match="Two images for ct"):
        assign_images(get_task("lits"), ["a.nii", "b.nii"])


def test_a_home_folder_is_expanded_with_and_without_a_modality(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "a=b.nii").touch()
    assert split_image("flair=~/x.nii") == ("flair", tmp_path / "x.nii")
    assert split_image("~/x.nii") == (None, tmp_path / "x.nii")
    assert split_image("~/a=b.nii") == (None, tmp_path / "a=b.nii")


# --- reading what was assigned ---


def read_scan(task: Task, files: list[str]) -> tuple[Volume, list[Message]]:
    return load_scan(task, assign_images(task, files))


@pytest.fixture
def four_files(tmp_path: Path) -> list[str]:
    data = np.random.default_rng(0).normal(100, 10, (4, 20, 22, 24)).astype(np.float32)
    names = ["x_t2.nii.gz", "x_flair.nii.gz", "x_t1ce.nii.gz", "x_t1.nii.gz"]
    for name, channel in zip(names, data, strict=True):
        nib.save(nib.Nifti1Image(channel, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / name)
    return [str(tmp_path / name) for name in names]


def test_files_become_channels_in_the_tasks_order(brats: Task, four_files: list[str]) -> None:
    volume, messages = read_scan(brats, four_files)
    by_name = {Path(file).name: read_volume(file).data[0] for file in four_files}
    order = ["x_flair.nii.gz", "x_t1.nii.gz", "x_t1ce.nii.gz", "x_t2.nii.gz"]
    assert np.array_equal(volume.data, np.stack([by_name[name] for name in order]))
    assert volume.channel_names == ("flair", "t1", "t1ce", "t2")
    assert [source.name for source in volume.sources] == order
    assert [message.text for message in messages] == [
        "flair: x_flair.nii.gz, t1: x_t1.nii.gz, t1ce: x_t1ce.nii.gz, t2: x_t2.nii.gz."
    ]


def test_one_file_with_all_channels_is_taken_as_it_is(brats: Task, tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(100, 10, (20, 22, 24, 4)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "BRATS_001.nii.gz")
    volume, messages = read_scan(brats, [str(tmp_path / "BRATS_001.nii.gz")])
    assert np.array_equal(volume.data, np.moveaxis(data, -1, 0))
    assert volume.channel_names == ("flair", "t1", "t1ce", "t2")
    assert "BRATS_001.nii.gz" in messages[0].text


def test_one_file_with_too_few_or_too_many_channels_is_refused(brats: Task, tmp_path: Path) -> None:
    for count in (1, 5):
        array = np.ones((20, 22, 24, count), np.float32)
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "scan.nii.gz")
        with pytest.raises(InputError, match=rf"scan\.nii\.gz has {count} channels?, 'brats' needs 4"):
            read_scan(brats, [str(tmp_path / "scan.nii.gz")])


def test_channels_where_one_image_is_needed_are_refused(brats: Task, four_files: list[str], tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((20, 22, 24, 3), np.float32), np.eye(4)), tmp_path / "x_t1.nii.gz")
    with pytest.raises(InputError, match=r"image for t1 \(x_t1\.nii\.gz\) has 3 channels"):
        read_scan(brats, four_files)


def test_a_missing_file_is_named(brats: Task, four_files: list[str]) -> None:
    Path(four_files[2]).unlink()
    with pytest.raises(InputError, match=r"no file .*x_t1ce\.nii\.gz"):
        read_scan(brats, four_files)


def test_front_ends_may_stack_volumes_of_their_own(brats: Task) -> None:
    data = np.random.default_rng(0).normal(size=(4, 9, 9, 9)).astype(np.float32)
    volumes = {
        name: Volume(data=data[index : index + 1], affine=np.eye(4), channel_names=("layer",))
        for index, name in enumerate(brats.modality_names)
    }
    volume, messages = stack_volumes(brats, dict(reversed(volumes.items())))
    assert np.array_equal(volume.data, data)
    assert messages == []
    del volumes["t2"]
    with pytest.raises(InputError, match="No image for t2"):
        stack_volumes(brats, volumes)


def test_a_single_image_is_not_copied() -> None:
    volume = Volume(data=np.ones((1, 9, 9, 9), np.float32), affine=np.eye(4), channel_names=("ct",))
    stacked, _ = stack_volumes(get_task("lits"), {"ct": volume})
    assert np.shares_memory(stacked.data, volume.data)


def test_real_modalities_are_assigned_and_stacked(brats: Task, a_data_folder: Path) -> None:
    folder = a_data_folder / "ms_brain"
    files = [str(folder / f"patient19_{modality}.nii.gz") for modality in ("t2", "t1ce", "t1", "flair")]
    volume, messages = read_scan(brats, files)
    assert volume.data.shape == (4, 182, 218, 182)
    assert volume.affine_codes == (1, 0)
    assert len(messages) == 1


def test_a_real_segmentation_among_the_images_is_refused(brats: Task, a_data_folder: Path) -> None:
    files = sorted(str(path) for path in (a_data_folder / "ms_brain").glob("patient19_*.nii.gz"))
    with pytest.raises(InputError, match=r"patient19_seg\.nii\.gz"):
        read_scan(brats, files)
