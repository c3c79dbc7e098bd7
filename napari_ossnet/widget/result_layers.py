"""Owns the two layers that show a result, labels and surface, and the pair that was there before the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_ossnet.engine.task_definition import Task
from napari_ossnet.widget.frames import LabelsFrame, SurfaceFrame
from napari_ossnet.widget.layers import METADATA_KEY, Placement

if TYPE_CHECKING:
    from napari.layers import Labels, Layer, Surface
    from napari.utils.colormaps import CyclicLabelColormap
    from napari.viewer import Viewer

#: Says of a layer that it shows a result, so that it is not offered as an image and can be found again.
RESULT_KEY = "ossnet_result"
#: Says of a surface layer that it is coarser than the surface itself, for the window's sake.
THINNED_KEY = "ossnet_thinned"
_TRANSFORM = ("scale", "translate", "affine", "units", "axis_labels")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """What the two layers hold at one moment; None where there is no such layer."""

    labels: tuple[np.ndarray, dict[str, Any]] | None
    surface: tuple[tuple[np.ndarray, ...], dict[str, Any]] | None
    placement: Placement
    is_edited: bool
    is_thinned: bool
    extra: Any = None


class ResultLayers:
    """The labels and the surface of one scan and task; made with the first frame, then only given new data.

    Args:
        viewer: Where the layers are.
        name: What the labels layer is called.
        task: Its classes give the colours.
        placement: The scan's, by which results are shown, saved and measured; set anew before every run.
        later: Runs a function in a turn of its own of the event loop. napari takes up to a tenth of a second to add a
            layer, and no slot of ours should hold the window for that long together with its own work.
        opacity: Of the labels.
    """

    edited = Signal()

    def __init__(
        self,
        viewer: Viewer,
        *,
        name: str,
        task: Task,
        placement: Placement,
        later: Callable[[Callable[[], Any]], None],
        opacity: float = 0.6,
    ) -> None:
        self._viewer = viewer
        self._later = later
        self._opacity = opacity
        self.name = name
        self.task = task
        self.placement = placement
        #: Of the labels that are shown, which a run that has no picture yet is not.
        self._shown_placement = placement
        self.labels: Labels | None = None
        self.surface: Surface | None = None
        #: Scan voxels between two samples of the labels that are shown.
        self.shown_step: float | None = None
        self._previous: Shown | None = None
        self._is_surface_wanted = True
        self._is_surface_empty = False
        self._is_thinned = False
        #: What ``finish`` was given with the result that is shown.
        self.extra: Any = None
        #: Whether the labels were edited by hand since they were shown.
        self.is_edited = False
        self._history = (0, 0)
        self._is_setting = False
        #: What was selected before layers of ours were added, until it is again.
        self._selected: set[Layer] | None = None
        viewer.dims.events.ndisplay.connect(self._fit_display)

    @property
    def can_restore(self) -> bool:
        """Whether there was a result before the last run."""
        return self._previous is not None

    def begin(self) -> None:
        """Remembers what is shown now, for ``restore``; layers that the user has removed will be made anew."""
        self._forget_removed_layers()
        self._is_surface_wanted = True
        self._previous = self._shown() if self.labels is not None else None

    def show_labels(self, frame: LabelsFrame) -> None:
        """Puts the labels of a step into the layer, in the right place at their size."""
        self.shown_step = frame.step
        self._set_labels(frame.labels, frame.transform)

    def show_surface(self, frame: SurfaceFrame) -> None:
        """Puts the surface of a step into its layer; one that the user has removed during the run stays away."""
        if self.surface is not None and self._is_removed(self.surface):
            self.surface, self._is_surface_wanted = None, False
        if self._is_surface_wanted:
            self._is_thinned = frame.is_thinned
            self._set_surface((frame.vertices, frame.faces, frame.values), frame.transform)

    def finish(self, extra: Any) -> None:
        """Keeps what belongs to the finished result, to be given back by ``restore``."""
        self.extra = extra

    def restore(self) -> Any:
        """Brings back what was shown before the last run, and keeps what was shown now: pressed twice, nothing changes.

        Returns:
            What ``finish`` was given with the result that is shown again.
        """
        if self._previous is None:
            return None
        self._forget_removed_layers()
        previous, self._previous = self._previous, self._shown()
        self.placement = previous.placement
        if previous.labels is not None:
            self._set_labels(*previous.labels)
            self.is_edited = previous.is_edited
        if previous.surface is not None:
            self._is_thinned = previous.is_thinned
            self._set_surface(*previous.surface)
        self.extra = previous.extra
        return previous.extra

    def mask(self) -> np.ndarray | None:
        """The labels as they are shown now, edits included, in the scan's axis order; None without a layer."""
        if self.labels is None:
            return None
        return self._shown_placement.to_scan(np.asarray(self.labels.data))

    def disconnect(self) -> None:
        """Listens to viewer and layers no more."""
        self._viewer.dims.events.ndisplay.disconnect(self._fit_display)
        if self.labels is not None:
            self.labels.events.paint.disconnect(self._on_edited)
            self.labels.events.labels_update.disconnect(self._on_edited)
            self.labels.events.set_data.disconnect(self._on_drawn)

    def _shown(self) -> Shown:
        labels, surface = self.labels, self.surface
        return Shown(
            labels=None if labels is None else (labels.data, _transform_now(labels)),
            surface=None if surface is None else (surface.data, _transform_now(surface)),
            placement=self._shown_placement,
            is_edited=self.is_edited,
            is_thinned=self._is_thinned,
            extra=self.extra,
        )

    def _set_labels(self, data: np.ndarray, transform: dict[str, Any]) -> None:
        self.is_edited, self._shown_placement = False, self.placement
        if self.labels is None or self._is_removed(self.labels):
            self.labels = self._new_labels(data, transform)
            self._add(self.labels)
            return
        self._rename(self.labels, self.name)
        dims = self._viewer.dims
        self._is_setting, slices = True, {axis: dims.point[axis] for axis in dims.not_displayed}
        _move(self.labels, transform, lambda layer: setattr(layer, "data", data))
        self._is_setting, self._history = False, _history_of(self.labels)
        # Where a layer's voxels grow, napari's slider has fewer steps and is cut off at its new end.
        for axis, point in slices.items():
            if dims.point[axis] != point:
                dims.set_point(axis, point)

    def _set_surface(self, data: tuple[np.ndarray, ...], transform: dict[str, Any]) -> None:
        # A surface of nothing can't be drawn by napari; the layer is hidden instead.
        self._is_surface_empty = not len(data[1])
        if self._is_surface_empty:
            self._fit_display()
            return
        if self.surface is None:
            self.surface = self._new_surface(data, transform)
            self._add(self.surface)
            return
        self._rename(self.surface, f"{self.name}, surface")
        self.surface.metadata[THINNED_KEY] = self._is_thinned
        _move(self.surface, transform, lambda layer: setattr(layer, "data", data))
        self._fit_display()

    def _rename(self, layer: Layer, name: str) -> None:
        """A region's layers tell the factor of the last run; a name that the user gave stays."""
        if layer.metadata[RESULT_KEY] != name and layer.name == layer.metadata[RESULT_KEY]:
            layer.name = layer.metadata[RESULT_KEY] = name
        layer.metadata[METADATA_KEY] = self.placement

    def _new_labels(self, data: np.ndarray, transform: dict[str, Any]) -> Labels:
        from napari.layers import Labels

        labels = Labels(
            data,
            name=self.name,
            colormap=_label_colors(self.task),
            opacity=self._opacity,
            metadata={METADATA_KEY: self.placement, RESULT_KEY: self.name},
            **transform,
        )
        labels.events.paint.connect(self._on_edited)
        labels.events.labels_update.connect(self._on_edited)
        labels.events.set_data.connect(self._on_drawn)
        return labels

    def _new_surface(self, data: tuple[np.ndarray, ...], transform: dict[str, Any]) -> Surface:
        from napari.layers import Surface
        from napari.utils.colormaps import Colormap

        # Each colour twice: vispy's step-wise colormaps need two bands at least.
        colors = [(*(part / 255 for part in segment.color), 1.0) for segment in self.task.classes for _ in range(2)]
        return Surface(
            data,
            name=f"{self.name}, surface",
            colormap=Colormap(
                colors,
                name=f"{self.task.name} classes",
                controls=np.linspace(0, 1, len(colors) + 1),
                interpolation="zero",
            ),
            contrast_limits=(0, 1),
            shading="smooth",
            metadata={
                METADATA_KEY: self.placement,
                RESULT_KEY: f"{self.name}, surface",
                THINNED_KEY: self._is_thinned,
            },
            **transform,
        )

    def _add(self, layer: Layer) -> None:
        layer.metadata[_PENDING] = True
        self._later(lambda: self._add_now(layer))

    def _add_now(self, layer: Layer) -> None:
        if self._selected is None:
            self._selected = set(self._viewer.layers.selection)
        layer.metadata.pop(_PENDING, None)
        self._viewer.add_layer(layer)
        self._fit_display()
        # The user's selection, and with it the tool in hand, is not ours to change while a run goes on.
        self._later(self._select)

    def _select(self) -> None:
        selected, self._selected = self._selected, None
        if selected:
            self._viewer.layers.selection = {layer for layer in selected if layer in self._viewer.layers}

    def _fit_display(self, event: Any = None) -> None:
        """Shows labels on slices and the surface in 3D; together in one place, they would show through each other.

        A layer whose eye the user has clicked is left as it is.
        """
        is_3d = self._viewer.dims.ndisplay == 3
        has_surface = self.surface is not None and not self._is_surface_empty and not self._is_removed(self.surface)
        for layer, is_right in ((self.labels, not (is_3d and has_surface)), (self.surface, is_3d and has_surface)):
            if layer is not None and layer.visible == layer.metadata.get(_SHOWN_KEY, True):
                layer.metadata[_SHOWN_KEY] = is_right
                # napari works a layer out anew even where nothing changes: tens of milliseconds for a surface.
                if layer.visible != is_right:
                    layer.visible = is_right

    def _is_removed(self, layer: Layer) -> bool:
        return layer not in self._viewer.layers and _PENDING not in layer.metadata

    def _forget_removed_layers(self) -> None:
        if self.labels is not None and self._is_removed(self.labels):
            self.labels = None
        if self.surface is not None and self._is_removed(self.surface):
            self.surface = None

    def _on_edited(self, event: Any = None) -> None:
        self._history = _history_of(self.labels)
        self.is_edited = True
        self.edited.emit()

    def _on_drawn(self, event: Any = None) -> None:
        """Undo and redo have no event of their own; they draw the layer, as scrolling does, but the history differs."""
        if self.labels is not None and not self._is_setting and _history_of(self.labels) != self._history:
            self._on_edited()


#: Marks a layer that is about to be added, and says whether we have shown or hidden it last.
_PENDING = "ossnet_pending"
_SHOWN_KEY = "ossnet_is_shown"


def _history_of(labels: Labels | None) -> tuple[int, int]:
    """How many edits can be undone and redone; napari keeps them in private, (0, 0) where it no longer does."""
    return len(getattr(labels, "_undo_history", ())), len(getattr(labels, "_redo_history", ()))


def _label_colors(task: Task) -> CyclicLabelColormap:
    """The classes' colours by label; labels painted beyond them take their turn.

    Not napari's dictionary of colours: its first use compiles code for over a second, with the window standing still.
    """
    from napari.utils.colormaps import CyclicLabelColormap

    table = np.full((max(segment.label for segment in task.classes) + 1, 4), 0.5)
    table[0] = 0.0
    for segment in task.classes:
        table[segment.label] = (*(part / 255 for part in segment.color), 1.0)
    return CyclicLabelColormap(colors=table, background_value=0)


def _transform_now(layer: Layer) -> dict[str, Any]:
    values = {name: getattr(layer, name) for name in _TRANSFORM}
    values["affine"] = np.array(values["affine"].affine_matrix)
    values["scale"], values["translate"] = np.array(values["scale"]), np.array(values["translate"])
    return values


def _move(layer: Layer, transform: dict[str, Any], set_data: Callable[[Layer], None]) -> None:
    """New data in a new place, in the order that never lets the layer reach beyond the scan in between.

    A layer that reaches beyond it for a moment would move napari's sliders.
    """
    is_finer = bool(np.prod(transform["scale"]) < np.prod(layer.scale))
    if not is_finer:
        set_data(layer)
    now = _transform_now(layer)
    for name in ("scale", "translate", "affine"):
        # Not set where it stays the same: napari would work the layer out anew each time.
        if not np.allclose(now[name], transform[name]):
            setattr(layer, name, transform[name])
    if is_finer:
        set_data(layer)
