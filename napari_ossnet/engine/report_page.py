"""The report as one page: picture, numbers, how the run went and where the mask is from, in a single HTML file.

Nothing in it is fetched from anywhere, so that it can be mailed, archived and opened offline; no script runs in it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ossnet.engine.atomic import atomic_path
from napari_ossnet.engine.segmentation import RESEARCH_NOTICE

if TYPE_CHECKING:
    from napari_ossnet.engine.segmentation import Segmentation
    from napari_ossnet.engine.volume import Volume

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2733; --paper: #ffffff; --faint: #667788; --line: #d9e0e7;
  --mark: #d1495b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8edf2; --paper: #0f1419; --faint: #8a97a5; --line: #2a333d; --mark: #ff7a6b; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto; padding: 2rem;
  max-width: 68rem; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.notice { border-left: 4px solid #e3b341; padding: .3rem .8rem; margin: 1rem 0; }
img { width: 100%; border-radius: 6px; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td:first-child { color: var(--faint); } .wrap { overflow-wrap: anywhere; } .faint { color: var(--faint); }
svg { display: block; max-width: 38rem; }
svg text { fill: var(--faint); font-size: 12px; } svg .line { stroke: var(--mark); fill: none; stroke-width: 2; }
svg circle { fill: var(--mark); } svg .axis { stroke: var(--line); }
"""


def write_report_page(
    path: str | Path, volume: Volume, segmentation: Segmentation, images: Mapping[str, str] | None = None
) -> None:
    """Writes the page.

    Args:
        path: An .html file.
        volume: The scan; its first channel is in the picture.
        segmentation: The result.
        images: Which image was which modality, where they were files.

    Raises:
        OutputError: The file can't be written.
    """
    page = build_page(volume, segmentation, images or {})
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def build_page(volume: Volume, segmentation: Segmentation, images: Mapping[str, str]) -> str:
    """The page as HTML."""
    title = escape(segmentation.task.title)
    picture = f"data:image/png;base64,{_picture(volume, segmentation)}"
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="faint">{escape(segmentation.task.description)}</p>',
        f'<p class="notice"><strong>{escape(RESEARCH_NOTICE)}</strong></p>',
        f'<img alt="Slices with the outline beside the surface" src="{picture}">',
        *(f'<p class="notice">{escape(message)}</p>' for message in segmentation.messages),
        "<h2>Numbers</h2>",
        _numbers(segmentation),
        "<h2>The run</h2>",
        _steps_chart(segmentation),
        "<h2>Where it is from</h2>",
        _provenance(volume, segmentation, images),
    ]
    if segmentation.provenance.citation:
        parts += ["<h2>Please cite</h2>", f"<p>{escape(segmentation.provenance.citation)}</p>"]
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def _picture(volume: Volume, segmentation: Segmentation) -> str:
    from napari_ossnet.engine.picture import build_figure

    figure = build_figure(volume, segmentation)
    png = io.BytesIO()
    figure.savefig(png, format="png", facecolor=figure.get_facecolor())
    return base64.b64encode(png.getvalue()).decode("ascii")


def _numbers(segmentation: Segmentation) -> str:
    if segmentation.is_empty:
        return "<p>Nothing was found: the mask is empty.</p>"
    heads = ("volume, mL", "finer than a voxel, mL", "surface, cm²", "largest diameter, mm", "voxels")
    head = "<th></th>" + "".join(f'<th class="number">{text}</th>' for text in heads)
    lines = []
    for part in segmentation.measurements:
        volumes = (f"{part.volume_ml:.2f}", f"{part.field_volume_ml:.2f}")
        numbers = (*volumes, f"{part.surface_area_cm2:.1f}", f"{part.max_diameter_mm:.1f}", f"{part.voxels:,}")
        cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
        lines.append(f"<tr><td>{escape(part.title)}</td>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _steps_chart(segmentation: Segmentation) -> str:
    """Locations asked for against time, a point for every step, as SVG."""
    records = segmentation.snapshots
    if not records:
        return ""
    width, height, left, bottom = 640, 190, 70, 40
    last_s = max(record.elapsed_s for record in records) or 1.0
    most = max(record.evaluated_locations for record in records) or 1
    points = [
        (
            left + record.elapsed_s / last_s * (width - left - 60),
            height - bottom - record.evaluated_locations / most * 110,
        )
        for record in records
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/><text x="{x:.1f}" y="{y - 10:.1f}" text-anchor="middle">'
        f"step {record.step:g}</text>"
        for (x, y), record in zip(points, records, strict=True)
    )
    base = height - bottom
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Locations asked for against time">'
        f'<path class="axis" d="M{left} {base}H{width - 40}"/><polyline class="line" points="{line}"/>{marks}'
        f'<text x="{left}" y="{base + 18}">0 s</text>'
        f'<text x="{width - 60}" y="{base + 18}" text-anchor="middle">{last_s:.1f} s</text>'
        f'<text x="{left - 8}" y="{points[-1][1]:.1f}" text-anchor="end">{most:,}</text>'
        f'<text x="{left - 8}" y="{base}" text-anchor="end">0</text></svg>'
        '<p class="faint">Locations that the network was asked for, against time; a dot is a finished step.</p>'
    )


def _provenance(volume: Volume, segmentation: Segmentation, images: Mapping[str, str]) -> str:
    made_by, times = segmentation.provenance, segmentation.timings
    scan = " × ".join(map(str, volume.shape)) + " voxels, " + " × ".join(f"{size:.3g}" for size in volume.spacing_mm)
    facts = {
        **{f"image, {name}": path for name, path in images.items()},
        "scan": f"{scan} mm, axes {volume.axis_codes}",
        "weights": f"{made_by.weights} (variant {made_by.variant}, task {made_by.task})",
        "SHA-256 of the weights": made_by.sha256,
        "threshold": f"{segmentation.threshold:g}",
        "schedule": made_by.schedule,
        "time": f"{times.elapsed_s:.1f} s on {made_by.device}; first picture after {times.first_snapshot_s:.1f} s",
        "locations asked for": f"{segmentation.evaluated_locations:,}",
        "peak memory": f"{segmentation.peak_memory_bytes / 2**20:,.0f} MiB",
        "versions": ", ".join(f"{name} {version}" for name, version in made_by.versions.items()),
    }
    if segmentation.region is not None:
        region = segmentation.region
        box = ", ".join(f"{a}:{b}" for a, b in zip(region.start, region.stop, strict=True))
        note = "; interpolated beyond the scan's resolution" if region.factor > 1 else ""
        facts["region"] = f"scan voxels {box}, {region.factor:g} times finer{note}"
    rows = (f'<tr><td>{escape(key)}</td><td class="wrap">{escape(value)}</td></tr>' for key, value in facts.items())
    return f"<table>{''.join(rows)}</table>"
