"""Settings, progress in words, thinned surfaces, numbers of masks, tables: the parts that need no window."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh

from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.tasks import get_task
from napari_ossnet.widget.exports import REPORT_FILTER, table_text, with_suffix
from napari_ossnet.widget.frames import class_value, thinned
from napari_ossnet.widget.mask_numbers import measure_mask
from napari_ossnet.widget.progress_text import duration, progress_note, size
from napari_ossnet.widget.settings import load_settings, save_settings, settings_path
from napari_ossnet.widget.state import MeasurementRow, Settings
from napari_ossnet.widget.store import Store
from napari_ossnet.widget.weights_choice import choose, known_tasks, variant_options, weights_options, weights_problems


def test_settings_come_back_as_they_were(a_home):
    settings = Settings(task="lits", weights={"lits": "oss-net-c-lits"}, memory="2GiB", threshold=0.4, folded=("run",))
    save_settings(settings)
    assert settings_path().parent == a_home
    assert load_settings() == settings


def test_a_settings_file_of_another_version_gives_what_fits(a_home):
    save_settings(Settings())
    settings_path().write_text(
        json.dumps({"task": "lits", "threshold": "high", "step": 2, "unheard_of": 1}), encoding="utf-8"
    )
    assert load_settings() == Settings(task="lits", step=2)


def test_a_damaged_settings_file_gives_the_defaults(a_home):
    save_settings(Settings(task="lits"))
    settings_path().write_text("{", encoding="utf-8")
    assert load_settings() == Settings()


def test_settings_that_cannot_be_written_are_no_failure(a_home):
    a_home.parent.mkdir(parents=True, exist_ok=True)
    a_home.write_text("a file where the folder should be", encoding="utf-8")
    save_settings(Settings())
    assert load_settings() == Settings()


def test_the_store_tells_of_changes_only():
    store, seen = Store(), []
    store.changed.connect(seen.append)
    store.update(status="a")
    store.update(status="a")
    assert [state.status for state in seen] == ["a"]


@pytest.mark.parametrize(
    ("progress", "text", "fraction"),
    [
        (Progress(stage="weights"), "Loading the network", None),
        (Progress(stage="refining", step=4, points_done=500, points_total=2000), "Step 4 · 500 of 2,000 points", 0.25),
        (
            Progress(stage="refining", step=0.25, points_done=9, points_total=6, remaining_s=0.2),
            "Step 0.25 · 9 of 6 points · 0 s left",
            1.0,
        ),
        (
            Progress(stage="download", points_done=1_500_000, points_total=35_000_000, remaining_s=100),
            "Downloading · 2 MB of 35 MB · 2 min left",
            1.5 / 35,
        ),
    ],
)
def test_progress_in_words(progress, text, fraction):
    note = progress_note(progress)
    assert note.text == text
    assert note.fraction == (None if fraction is None else pytest.approx(fraction))


def test_times_and_sizes_in_words():
    assert [duration(s) for s in (0, 59.6, 89, 90, 3600, 6000)] == [
        "0 s",
        "60 s",
        "89 s",
        "2 min",
        "60 min",
        "1 h 40 min",
    ]
    assert [size(n) for n in (12, 1500, 35_000_000, 2_500_000_000)] == ["12 B", "2 kB", "35 MB", "2.5 GB"]


def test_a_thinned_surface_has_few_faces_and_stays_near_the_whole_one():
    ball = trimesh.creation.icosphere(subdivisions=5, radius=20.0)
    vertices, faces = thinned(np.array(ball.vertices), np.array(ball.faces), 4000)
    assert 1500 <= len(faces) <= 4000
    assert np.abs(np.linalg.norm(vertices, axis=1) - 20.0).max() < 0.5
    same = thinned(np.array(ball.vertices), np.array(ball.faces), 10**6)
    assert len(same[1]) == len(ball.faces)


def test_class_values_lie_in_the_middle_of_their_band():
    assert [class_value(index, 2) for index in range(2)] == [0.25, 0.75]


def test_the_numbers_of_a_ball_of_voxels():
    i, j, k = np.indices((40, 40, 40))
    mask = (i - 20.3) ** 2 + (j - 19.6) ** 2 + (k - 20.1) ** 2 < 12.0**2
    row = measure_mask("Ball", mask, np.diag([1.0, 1.0, 1.0, 1.0]))
    assert row.volume_ml == pytest.approx(4 / 3 * np.pi * 12**3 / 1000, rel=0.01)
    assert row.surface_area_cm2 == pytest.approx(4 * np.pi * 12**2 / 100, rel=0.02)
    assert row.max_diameter_mm == pytest.approx(24, abs=0.7)


def test_the_numbers_of_a_ball_on_thick_slices():
    i, j, k = np.indices((60, 60, 24))
    mask = ((i - 30) * 0.8) ** 2 + ((j - 30) * 0.8) ** 2 + ((k - 12) * 2.0) ** 2 < 15.0**2
    row = measure_mask("Ball", mask, np.diag([0.8, -0.8, 2.0, 1.0]))
    assert row.volume_ml == pytest.approx(4 / 3 * np.pi * 15**3 / 1000, rel=0.02)
    assert row.surface_area_cm2 == pytest.approx(4 * np.pi * 15**2 / 100, rel=0.04)


def test_the_numbers_of_nothing_and_of_one_voxel():
    nothing = np.zeros((5, 5, 5), bool)
    assert measure_mask("", nothing, np.eye(4)) == MeasurementRow(
        title="", volume_ml=0.0, surface_area_cm2=0.0, max_diameter_mm=0.0
    )
    nothing[2, 2, 2] = True
    assert measure_mask("", nothing, np.eye(4)).volume_ml == pytest.approx(0.001)


def test_a_file_name_gets_the_suffix_of_the_chosen_type_unless_it_has_one():
    nifti, nrrd = "NIfTI (*.nii.gz *.nii)", "NRRD (*.nrrd)"
    assert with_suffix("/a/mask", nifti, f"{nifti};;{nrrd}") == "/a/mask.nii.gz"
    assert with_suffix("/a/mask.NRRD", nifti, f"{nifti};;{nrrd}") == "/a/mask.NRRD"
    assert with_suffix("/a/smith_2024.05.12", nrrd, f"{nifti};;{nrrd}") == "/a/smith_2024.05.12.nrrd"
    assert with_suffix("/a/report.pdf", REPORT_FILTER.split(";;")[0], REPORT_FILTER) == "/a/report.pdf.html"


def test_the_table_as_text():
    row = MeasurementRow(title="Liver", volume_ml=1.23456, surface_area_cm2=9.876, max_diameter_mm=12.34)
    assert table_text((row,)).splitlines()[1] == "Liver\t1.235\t9.88\t12.3"


def test_weights_on_this_machine_come_first_and_are_chosen(sphere, a_home):
    sphere.make_weights(a_home, "lits", "mine", variant="x")
    task = get_task("lits")
    options = weights_options(task)
    assert options[0].name == "mine"
    assert options[0].is_here
    assert not options[0].can_download
    assert choose(options, None) == options[0]
    assert all(option.can_download for option in options if option.variant in "abcd")
    assert weights_problems(task, options[0], "x") == ()
    assert "press Download" in weights_problems(task, choose(options, None, "c"), "c")[0]


def test_every_variant_is_listed_and_those_without_weights_say_so():
    titles = {option.name: option.title for option in variant_options(get_task("lits"))}
    assert titles["c"] == "OSS-Net C"
    assert titles["o-net"] == "O-Net (no weights yet)"


def test_weights_bring_their_own_task(sphere, a_home):
    from dataclasses import replace

    from safetensors.numpy import save_file

    from napari_ossnet.engine.model_card import ModelCard

    task = replace(get_task("hippocampus"), name="kidney", title="Kidney")
    card = ModelCard(name="k", title="K", task=task, variant="x", network_config={})
    (a_home / "weights").mkdir(parents=True)
    save_file({"a": np.zeros(1)}, a_home / "weights" / "k.safetensors", metadata={"ossnet_card": card.to_json()})
    assert known_tasks()["kidney"] == task
