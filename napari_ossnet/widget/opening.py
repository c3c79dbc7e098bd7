"""Owns how scans become layers that are good to look at: names, grey values, what is shown first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ossnet.engine.scans.assignment import is_named_as_labels
from napari_ossnet.engine.volume import Volume, read_volume, stem_of
from napari_ossnet.widget.layers import (
    Placement,
    image_to_layer,
    layer_from_volume,
    multichannel_layer_from_volume,
)
from napari_ossnet.widget.result_layers import RESULT_KEY

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

#: What napari's readers return: data, keyword arguments, kind of layer.
LayerTuple = tuple[np.ndarray, dict[str, Any], str]

#: More channels than this are a time series: one layer with a slider.
MOST_LAYERS = 8
#: Whole numbers of at most this many different values are labels whatever the name says.
MOST_LABELS = 8
#: Window of a CT, HU: abdomen, level 40, width 400.
CT_WINDOW = (-160.0, 240.0)


def read_layers(path: str | Path) -> list[LayerTuple]:
    """The layers of a file or a DICOM folder: one a channel, labels as labels.

    Raises:
        InputError: It can't be read.
    """
    volume = read_volume(path)
    if is_label_map(volume, stem_of(path)):
        return [_labels_tuple(volume, stem_of(path))]
    return image_layers(volume)


def image_layers(volume: Volume) -> list[LayerTuple]:
    """One image layer a channel, the first of them shown; a time series stays one layer."""
    if volume.data.shape[0] > MOST_LAYERS:
        data, keywords = multichannel_layer_from_volume(volume, volume.channel_names[0].rsplit(" ", 1)[0])
        return [(data, keywords | _appearance(data, volume), "image")]
    layers: list[LayerTuple] = []
    for index, (data, keywords) in enumerate(layer_from_volume(volume, volume.channel_names)):
        layers.append((data, keywords | _appearance(data, volume) | {"visible": index == 0}, "image"))
    return layers


def is_label_map(volume: Volume, name: str) -> bool:
    """Whether a scan of one channel holds labels: whole numbers that the name calls so, or of very few values."""
    if volume.data.shape[0] != 1:
        return False
    sample = volume.data[0, ::3, ::3, ::3]
    if sample.min() < 0 or (sample != np.round(sample)).any():
        return False
    data = volume.data[0]
    if data.min() < 0 or data.max() > 65535 or (data != np.round(data)).any():
        return False
    return is_named_as_labels(name) or len(np.unique(data)) <= MOST_LABELS


def demo_layers() -> list[LayerTuple]:
    """The demo scan, made by code: four modalities of a brain with a tumour."""
    from napari_ossnet.engine.phantom.brain import demo_phantom

    volume = demo_phantom().volume
    titles = {"flair": "FLAIR", "t1": "T1", "t1ce": "T1ce", "t2": "T2"}
    layers = image_layers(volume)
    return [
        (data, keywords | {"name": f"demo {titles.get(keywords['name'], keywords['name'])}"}, kind)
        for data, keywords, kind in layers
    ]


def add_layers(viewer: Viewer, layers: list[LayerTuple]) -> None:
    """Adds layers to a viewer, the first image on top and selected."""
    from napari.layers import Layer

    for data, keywords, kind in reversed(layers):
        viewer.add_layer(Layer.create(data, keywords, kind))


def super_resolved_layer(volume: Volume, placement: Placement) -> Image:
    """PFSeg's restored image as a layer, where the scan's layer lies; never offered as a scan to segment."""
    from napari.layers import Image

    data, transform = image_to_layer(volume, placement)
    (name,) = volume.channel_names
    return Image(data, name=name, metadata={RESULT_KEY: name}, **transform, **_appearance(data, volume))


def _labels_tuple(volume: Volume, name: str) -> LayerTuple:
    ((data, keywords),) = layer_from_volume(volume, (name,))
    kind = np.uint8 if data.max() <= 255 else np.uint16
    return data.astype(kind), keywords, "labels"


def _appearance(data: np.ndarray, volume: Volume) -> dict[str, Any]:
    """Grey, with the contrast that such a scan is usually looked at in."""
    sample = data[..., ::4, ::4, ::4]
    is_ct = volume.modality == "CT" or float(sample.min()) <= -500.0
    low, high = CT_WINDOW if is_ct else _percentiles(sample)
    # Without depth a scan's projection in 3D stays behind the surfaces in it; on slices nothing is different.
    return {"colormap": "gray", "contrast_limits": (low, high), "blending": "translucent_no_depth"}


def _percentiles(sample: np.ndarray) -> tuple[float, float]:
    """Limits that a few bright voxels do not spoil; where zero is the background of a stripped scan, it is black."""
    is_stripped = np.count_nonzero(sample == 0) > 0.2 * sample.size
    low = 0.0 if is_stripped else float(sample.min())
    bright = sample[sample > low]
    high = float(np.percentile(bright, 99.5)) if bright.size else low + 1.0
    return low, max(high, low + 1e-6)
