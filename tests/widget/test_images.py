"""Layers find their modality by name or by order; what is picked by hand stays."""

from __future__ import annotations

import numpy as np
from napari.layers import Image, Labels

from napari_ossnet.engine.tasks import get_task
from napari_ossnet.widget.images import assign, image_choices, image_problems, modality_rows, sources_of

BRATS = get_task("brats")


def image(name, shape=(5, 6, 7), **keywords):
    return Image(np.zeros(shape, np.float32), name=name, units=("mm",) * len(shape), **keywords)


def titles(assigned):
    return {name: choice and choice.title for name, choice in assigned.items()}


def test_four_layers_find_their_modalities_by_their_names():
    layers = [image(name) for name in ("BraTS_001_t1", "BraTS_001_t2", "BraTS_001_t1ce", "BraTS_001_flair")]
    assigned = assign(BRATS, image_choices(layers), {})
    assert titles(assigned) == {
        "flair": "BraTS_001_flair",
        "t1": "BraTS_001_t1",
        "t1ce": "BraTS_001_t1ce",
        "t2": "BraTS_001_t2",
    }


def test_a_layer_with_four_channels_fills_all_modalities_in_order():
    layer = image("case", (4, 5, 6, 7))
    assigned = assign(BRATS, image_choices([layer]), {})
    assert [choice.channel for choice in assigned.values()] == [0, 1, 2, 3]
    sources = sources_of(assigned, [layer])
    assert sources["t2"].name == "case [4]"
    assert sources["t2"].shape == (5, 6, 7)


def test_labels_flat_images_and_time_series_are_not_offered():
    layers = [
        Labels(np.zeros((5, 6, 7), int)),
        Image(np.zeros((5, 6))),
        Image(np.zeros((40, 5, 6, 7))),
        Image(np.zeros((5, 6, 7, 3), np.uint8), rgb=True),
    ]
    assert image_choices(layers) == ()


def test_none_picked_by_hand_stays_none():
    layers = [image("flair"), image("t1"), image("t1ce"), image("t2")]
    assigned = assign(BRATS, image_choices(layers), {"t1": None})
    assert assigned["t1"] is None
    rows = modality_rows(BRATS, assigned, sources_of(assigned, layers))
    assert image_problems(BRATS, rows, has_images=True) == ("Choose an image for T1.",)


def test_a_pick_whose_layer_is_gone_is_forgotten():
    gone = image("mine")
    (choice,) = image_choices([gone])
    layers = [image("flair"), image("t1"), image("t1ce"), image("t2")]
    assert assign(BRATS, image_choices(layers), {"t1": choice})["t1"].title == "t1"


def test_another_grid_is_said_to_be_resampled():
    layers = [image("flair"), image("t1", scale=(2, 2, 2)), image("t1ce"), image("t2")]
    assigned = assign(BRATS, image_choices(layers), {})
    rows = modality_rows(BRATS, assigned, sources_of(assigned, layers))
    assert "resampled to flair" in rows[1].note
    assert "fits" in rows[0].note


def test_a_published_scan_fits_as_it_is():
    # (z, y, x) of an LPS scan of 240 x 240 x 155 voxels, as our reader places it.
    layer = image("flair", (155, 240, 240))
    from napari_ossnet.engine.volume import Volume
    from napari_ossnet.widget.layers import layer_from_volume

    volume = Volume(
        data=np.zeros((1, 240, 240, 155), np.float32), affine=np.diag([-1.0, -1.0, 1.0, 1.0]), channel_names=("flair",)
    )
    ((data, keywords),) = layer_from_volume(volume, ("flair",))
    layer = Image(data, **keywords)
    assigned = assign(BRATS, image_choices([layer]), {})
    rows = modality_rows(BRATS, assigned, sources_of(assigned, [layer]))
    assert rows[0].note == "240×240×155 · 1 mm · fits as it is"


def test_where_no_image_fits_another_task_is_offered():
    rows = modality_rows(BRATS, dict.fromkeys(BRATS.modality_names), {})
    (problem,) = image_problems(BRATS, rows, has_images=True)
    assert problem.startswith("Choose images, or another task")
    (problem,) = image_problems(BRATS, rows, has_images=False)
    assert problem.startswith("Open a scan first")
