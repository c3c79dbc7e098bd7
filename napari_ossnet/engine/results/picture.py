"""The picture of a result: three slices with the outline beside the surface, the numbers, and where it is from.

Drawn by matplotlib in memory (Agg): it needs no screen and no OpenGL.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.results.picture_slices import SliceView, slice_views
from napari_ossnet.engine.results.segmentation import RESEARCH_NOTICE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_ossnet.engine.results.segmentation import Segmentation
    from napari_ossnet.engine.volume import Volume

_PAPER, _INK, _FAINT = "#0f1419", "#e8edf2", "#8a97a5"
#: Inches that the slices and the surface take together.
_PANELS_HIGH = 6.468
#: More of the scan than this is no anatomy within air, but a tight crop: shown as glass it would be a box.
_FULL_SHARE = 0.85
#: The anatomy is shown on at most this many voxels an axis.
_ANATOMY_VOXELS = 110


def draw_picture(path: str | Path, volume: Volume, segmentation: Segmentation) -> None:
    """Draws a result and writes it as a PNG file.

    Args:
        path: A .png file.
        volume: The scan; its first channel is shown.
        segmentation: The result, on the scan's grid or on that of a refined region.

    Raises:
        OutputError: The file can't be written.
    """
    figure = build_figure(volume, segmentation)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", facecolor=_PAPER)


def build_figure(volume: Volume, segmentation: Segmentation, *, has_text: bool = True) -> Figure:
    """The picture as a matplotlib figure that belongs to no window.

    Args:
        volume: The scan; its first channel is shown.
        segmentation: The result.
        has_text: Whether numbers, legend and provenance stand around it; a page has them beside it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Inches below and above the panels.
    below, above = (0.672, 1.26) if has_text else (0.15, 0.15)
    figure = Figure(figsize=(15, below + _PANELS_HIGH + above), dpi=110, facecolor=_PAPER)
    FigureCanvasAgg(figure)

    def panel(left: float, bottom: float, width: float, high: float) -> Axes:
        """Axes whose height is given as a share of that of all panels."""
        total = figure.get_figheight()
        return figure.add_axes((left, (below + bottom * _PANELS_HIGH) / total, width, high * _PANELS_HIGH / total))

    axial, coronal, sagittal = slice_views(volume, segmentation)
    colors = _colors(segmentation)
    _draw_slice(panel(0.015, 0, 0.36, 1), axial, colors)
    _draw_slice(panel(0.385, 0.513, 0.22, 0.487), coronal, colors)
    _draw_slice(panel(0.385, 0, 0.22, 0.487), sagittal, colors)
    _draw_surface(panel(0.615, 0, 0.37, 1), volume, segmentation, colors)
    if has_text:
        _write_header(figure, segmentation, colors)
        _write_footer(figure, segmentation)
    return figure


def _colors(segmentation: Segmentation) -> dict[int, tuple[float, float, float]]:
    return {c.label: (c.color[0] / 255, c.color[1] / 255, c.color[2] / 255) for c in segmentation.task.classes}


def _bare_axes(axes: Axes) -> None:
    axes.set_facecolor(_PAPER)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_slice(axes: Axes, view: SliceView, colors: dict[int, tuple[float, float, float]]) -> None:
    _bare_axes(axes)
    height, width = view.pixel_mm
    rows, columns = view.image.shape
    extent = (0.0, columns * width, rows * height, 0.0)
    axes.imshow(view.image, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="lanczos", aspect="equal")
    x, y = (np.arange(columns) + 0.5) * width, (np.arange(rows) + 0.5) * height
    for label, heights in view.heights.items():
        if min(heights.shape) > 1:
            axes.contourf(x, y, heights, levels=[0.0, np.inf], colors=[colors[label]], alpha=0.16)
            axes.contour(x, y, heights, levels=[0.0], colors=[colors[label]], linewidths=1.6)
    _letter_sides(axes, view)
    _draw_scale_bar(axes, columns * width, rows * height)


def _letter_sides(axes: Axes, view: SliceView) -> None:
    left, right, top, bottom = view.letters
    style: dict[str, Any] = {"color": _FAINT, "fontsize": 9, "transform": axes.transAxes, "path_effects": _halo()}
    axes.text(0.012, 0.5, left, ha="left", va="center", **style)
    axes.text(0.988, 0.5, right, ha="right", va="center", **style)
    axes.text(0.5, 0.988, top, ha="center", va="top", **style)
    axes.text(0.5, 0.012, bottom, ha="center", va="bottom", **style)
    axes.text(0.012, 0.988, f"{view.title} {view.number}", ha="left", va="top", **(style | {"color": _INK}))


def _halo() -> list[Any]:
    """A dark rim that keeps letters legible on bright tissue."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.5, foreground=_PAPER)]


def _draw_scale_bar(axes: Axes, width_mm: float, height_mm: float) -> None:
    """A bar of a round length, about a fifth of the width, at the lower left."""
    length = next(size for size in (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1) if size <= 0.3 * width_mm or size == 0.1)
    x, y = 0.03 * width_mm, 0.965 * height_mm
    axes.plot([x, x + length], [y, y], color=_PAPER, linewidth=4.2, solid_capstyle="projecting")
    axes.plot([x, x + length], [y, y], color=_INK, linewidth=2.2, solid_capstyle="butt")
    style: dict[str, Any] = {"color": _INK, "fontsize": 8, "path_effects": _halo()}
    axes.text(x + length / 2, y - 0.012 * height_mm, f"{length:g} mm", ha="center", va="bottom", **style)


def _draw_surface(
    axes: Axes, volume: Volume, segmentation: Segmentation, colors: dict[int, tuple[float, float, float]]
) -> None:
    _bare_axes(axes)
    if segmentation.is_empty:
        axes.text(0.5, 0.5, "Nothing was found", color=_INK, fontsize=17, ha="center", transform=axes.transAxes)
        return
    from napari_ossnet.engine.results.picture_surface import render_surfaces

    anatomy = _anatomy(volume) if segmentation.region is None else None
    masks = [segmentation.labels == label for label in colors]
    around = (None, None) if anatomy is None else anatomy
    rendering = render_surfaces(masks, list(colors.values()), segmentation.affine, *around)
    size_mm = rendering.rgba.shape[0] * rendering.pixel_mm
    axes.imshow(rendering.rgba, extent=(0.0, size_mm, size_mm, 0.0), interpolation="bilinear")
    _draw_scale_bar(axes, size_mm, size_mm)
    axes.text(0.012, 0.988, "surface, from the front right", color=_INK, fontsize=9, va="top", transform=axes.transAxes)


def _anatomy(volume: Volume) -> tuple[np.ndarray, np.ndarray] | None:
    """What stands out from the scan's background, on a coarse grid, and its affine; None for a tight crop."""
    from scipy.ndimage import binary_fill_holes, gaussian_filter
    from skimage.measure import label

    from napari_ossnet.engine.scans.foreground import find_foreground

    try:
        level = find_foreground(volume.data[:1]).background[0]
    except InputError:
        return None
    stride = max(1, -(-max(volume.shape) // _ANATOMY_VOXELS))
    coarse = gaussian_filter(volume.data[0], stride / 2)[::stride, ::stride, ::stride]
    contrast = np.abs(coarse - level)
    components = label(contrast > 0.08 * np.percentile(contrast, 99.5))
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    mask = np.asarray(binary_fill_holes(components == sizes.argmax()))
    if not mask.any() or mask.mean() > _FULL_SHARE:
        return None
    affine = volume.affine @ np.diag([stride, stride, stride, 1.0])
    return mask, affine


def _write_header(figure: Figure, segmentation: Segmentation, colors: dict[int, tuple[float, float, float]]) -> None:
    whole = segmentation.whole
    figure.text(0.015, 0.945, segmentation.task.title, color=_INK, fontsize=19, weight="bold", va="center")
    numbers = (
        f"{whole.volume_ml:.1f} mL    surface {whole.surface_area_cm2:.1f} cm²    "
        f"largest diameter {whole.max_diameter_mm:.1f} mm"
    )
    figure.text(0.015, 0.895, numbers, color=_INK, fontsize=12.5, va="center")
    x = 0.985
    by_label = {part.label: part.volume_ml for part in segmentation.measurements if part.label is not None}
    for item in reversed(segmentation.task.classes):
        volume_ml = by_label.get(item.label, whole.volume_ml)
        text = figure.text(
            x, 0.945, f"{item.title}  {volume_ml:.1f} mL", color=_INK, fontsize=11.5, ha="right", va="center"
        )
        # Widths of text are known only once it is laid out.
        box = text.get_window_extent()
        left = box.x0 / figure.bbox.width
        figure.text(left - 0.006, 0.945, "■", color=colors[item.label], fontsize=15, ha="right", va="center")
        x = left - 0.035
    figure.text(0.985, 0.895, _provenance(segmentation), color=_FAINT, fontsize=10, ha="right", va="center")


def _provenance(segmentation: Segmentation) -> str:
    made_by, step = segmentation.provenance, segmentation.snapshot.step
    parts = [
        f"weights {made_by.weights}",
        f"step {step:g}",
        f"threshold {segmentation.threshold:g}",
        f"{segmentation.evaluated_locations:,} locations",
        f"{segmentation.timings.elapsed_s:.1f} s on {made_by.device}",
    ]
    return "  ·  ".join(parts)


def _write_footer(figure: Figure, segmentation: Segmentation) -> None:
    figure.text(0.015, 0.035, RESEARCH_NOTICE, color="#e3b341", fontsize=10.5, va="center")
    region = segmentation.region
    if region is not None and region.factor > 1:
        note = f"voxels {region.factor:g}× finer: interpolated beyond the scan's resolution"
        figure.text(0.53, 0.035, note, color=_INK, fontsize=9.5, ha="center", va="center")
    version = segmentation.provenance.versions.get("napari_ossnet", "")
    made_by = f"napari-ossnet {version}  ·  SHA-256 of the weights {segmentation.provenance.sha256[:12]}…"
    figure.text(0.985, 0.035, made_by, color=_FAINT, fontsize=9.5, ha="right", va="center")
