"""The report as one page: picture, numbers, how the run went and where the mask is from, in a single HTML file.

Nothing in it is fetched from anywhere, so that it can be mailed, archived and opened offline; no script runs in it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ossnet.engine.files.atomic import atomic_path
from napari_ossnet.engine.published_weights import CITATION
from napari_ossnet.engine.results.numbers import Numbers, ObjectNumbers, numbers_of
from napari_ossnet.engine.results.segmentation import RESEARCH_NOTICE

if TYPE_CHECKING:
    from napari_ossnet.engine.results.segmentation import Segmentation
    from napari_ossnet.engine.volume import Volume

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2733; --paper: #ffffff; --faint: #5c6b7a; --line: #d9e0e7;
  --card: #f4f6f8; --mark: #d1495b; --warn: #fff6dd; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8edf2; --paper: #0f1419; --faint: #93a1af; --line: #2a333d; --card: #182028; --mark: #ff7a6b;
    --warn: #2b2615; } }
@page { size: A4; margin: 9mm 12mm; }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: var(--ink);
  background: var(--paper); margin: 0 auto; padding: 2rem; max-width: 68rem; }
h1 { font-size: 1.75em; line-height: 1.2; margin: 0; } h2 { font-size: 1.1em; margin: 1.8em 0 .4em; }
p { margin: .4em 0; } img { width: 100%; border-radius: 8px; margin: .6em 0; display: block; }
.notice { border-left: 4px solid #e3b341; background: var(--warn); padding: .4em .9em; border-radius: 0 6px 6px 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11em, 1fr)); gap: .8em; margin: 1em 0; }
.card { background: var(--card); border-radius: 8px; padding: .7em 1em; }
.card b { display: block; font-size: 1.55em; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card small { color: var(--faint); display: block; font-size: .86em; line-height: 1.35; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35em .8em .35em 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td:first-child { color: var(--faint); } .facts td:first-child { width: 13em; }
.wrap { overflow-wrap: anywhere; } .faint { color: var(--faint); }
.legend span { margin-right: 1.2em; color: var(--ink); }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .45em; }
svg { display: block; width: 100%; max-width: 42rem; }
svg text { fill: var(--faint); font-size: 12px; } svg rect { fill: var(--mark); }
@media print { :root { --ink: #1b2733; --paper: #ffffff; --faint: #5c6b7a; --line: #d9e0e7; --card: #f4f6f8;
    --mark: #d1495b; --warn: #fff6dd; } body { font-size: 10px; line-height: 1.3; padding: 0; }
  img { width: 78%; margin: .4em auto; } svg { max-width: 27rem; } .card b { font-size: 1.4em; }
  .cards { margin: .6em 0; }
  th, td { padding: .14em .8em .14em 0; } h2 { margin: .9em 0 .2em; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  section, .cards, img { break-inside: avoid; } }
"""
#: The picture in the page: sharp on a screen with twice the pixels and on paper.
_PICTURE_DPI = 150
_OSS_NETS = ("o-net", "a", "b", "c", "d", "x")
#: Objects that the page lists; the table of numbers has them all.
_MOST_OBJECTS = 12


def write_report_page(
    path: str | Path,
    volume: Volume,
    segmentation: Segmentation,
    images: Mapping[str, str] | None = None,
    numbers: Numbers | None = None,
) -> None:
    """Writes the page.

    Args:
        path: An .html file.
        volume: The scan; its first channel is in the picture.
        segmentation: The result.
        images: Which image was which modality, where they were files.
        numbers: As ``numbers_of`` gives them, with the uncertainty where it was measured; None measures the objects.

    Raises:
        OutputError: The file can't be written.
    """
    page = build_page(volume, segmentation, images or {}, numbers)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def build_page(
    volume: Volume, segmentation: Segmentation, images: Mapping[str, str], numbers: Numbers | None = None
) -> str:
    """The page as HTML."""
    numbers = numbers_of(segmentation) if numbers is None else numbers
    title = escape(segmentation.task.title)
    picture = f"data:image/png;base64,{_picture(volume, segmentation)}"
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="faint">{escape(segmentation.task.description)}</p>',
        f'<p class="notice"><strong>{escape(RESEARCH_NOTICE)}</strong></p>',
        *([] if segmentation.is_empty else [_cards(segmentation, numbers)]),
        f'<img alt="Slices with the outline beside the surface" src="{picture}">',
        _legend(segmentation),
        *(f'<p class="notice">{escape(message)}</p>' for message in segmentation.messages),
        _classes(segmentation, numbers),
        _section("Objects", _objects(numbers)) if numbers.objects else "",
        _section("The run", _steps_chart(segmentation)),
        _section("Where it is from", _provenance(volume, segmentation, images)),
    ]
    made_by = segmentation.provenance
    method = [CITATION] if made_by.variant in _OSS_NETS and made_by.citation != CITATION else []
    citations = [*method, made_by.citation]
    if any(citations):
        parts.append(_section("Please cite", "".join(f"<p>{escape(text)}</p>" for text in citations if text)))
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>\n{content}</section>"


def _picture(volume: Volume, segmentation: Segmentation) -> str:
    from napari_ossnet.engine.results.picture import build_figure

    figure = build_figure(volume, segmentation, has_text=False)
    png = io.BytesIO()
    figure.savefig(png, format="png", facecolor=figure.get_facecolor(), dpi=_PICTURE_DPI)
    return base64.b64encode(png.getvalue()).decode("ascii")


def _volume(value_ml: float) -> str:
    """A volume as digits: more behind the point where there are fewer before it."""
    digits = 3 if value_ml < 1 else 2 if value_ml < 100 else 1
    return f"{value_ml:,.{digits}f}"


def _cards(segmentation: Segmentation, numbers: Numbers) -> str:
    """What a reader looks for first."""
    whole = segmentation.whole
    unsure = numbers.uncertainty
    span = ""
    if unsure is not None:
        low, high = unsure.volumes_ml()
        between = f"{unsure.higher_threshold:g} and {unsure.lower_threshold:g}"
        span = f"{_volume(low)} to {_volume(high)} mL at thresholds {between}"
    pieces = sum(item.label is None for item in numbers.objects)
    apart = f"across {pieces} objects; " if pieces > 1 else ""
    cards = [
        (f"{_volume(whole.volume_ml)} mL", "volume of the mask", span),
        (f"{_volume(whole.field_volume_ml)} mL", "volume inside the surface", "measured more finely than a voxel"),
        (f"{whole.max_diameter_mm:.1f} mm", "largest 3D diameter", f"{apart}surface {whole.surface_area_cm2:.1f} cm²"),
    ]
    largest = max((item for item in numbers.objects if item.label is whole.label), key=_product, default=None)
    if largest is not None and largest.axial_slice is not None:
        sides = f"{largest.axial_longest_mm:.1f} × {largest.axial_across_mm:.1f} mm"
        cards.append(
            (sides, "axial diameters", f"product {_product(largest):,.0f} mm², in slice {largest.axial_slice}")
        )
    inner = (
        f'<div class="card"><small>{name}</small><b>{value}</b><small>{note}</small></div>'
        for value, name, note in cards
    )
    return f'<div class="cards">{"".join(inner)}</div>'


def _product(item: ObjectNumbers) -> float:
    return item.axial_product_mm2


def _classes(segmentation: Segmentation, numbers: Numbers) -> str:
    """A row a class, and one for all of them; nothing where there is but one, whose numbers stand above."""
    if segmentation.is_empty:
        return "<p>Nothing was found: the mask is empty.</p>"
    if len(segmentation.measurements) == 1:
        return ""
    unsure = numbers.uncertainty
    heads = ["mask, mL", "surface, mL", "area, cm²", "diameter, mm", "voxels"]
    if unsure is not None:
        heads.insert(2, f"at {unsure.higher_threshold:g} – {unsure.lower_threshold:g}, mL")
    lines = []
    for position, part in enumerate(segmentation.measurements):
        cells = [_volume(part.volume_ml), _volume(part.field_volume_ml)]
        if unsure is not None:
            cells.append(" – ".join(map(_volume, unsure.volumes_ml(position))))
        cells += [f"{part.surface_area_cm2:.1f}", f"{part.max_diameter_mm:.1f}", f"{part.voxels:,}"]
        lines.append((part.title, cells))
    return _section("Classes", _table(["", *heads], lines))


def _objects(numbers: Numbers) -> str:
    """The objects of every class, or of the whole where there is but one class; the largest first."""
    has_classes = any(item.label is not None for item in numbers.objects)
    listed = [item for item in numbers.objects if item.label is not None or not has_classes]
    listed.sort(key=lambda item: -item.volume_ml)
    lines = [
        (
            f"{item.title} {item.number}",
            [
                _volume(item.volume_ml),
                f"{item.surface_area_cm2:.1f}",
                f"{item.max_diameter_mm:.1f}",
                f"{item.axial_longest_mm:.1f} × {item.axial_across_mm:.1f}",
                f"{item.axial_product_mm2:,.0f}",
                "" if item.axial_slice is None else str(item.axial_slice),
            ],
        )
        for item in listed[:_MOST_OBJECTS]
    ]
    heads = ["", "volume, mL", "surface, cm²", "largest diameter, mm", "axial, mm", "product, mm²", "slice"]
    left_out = len(listed) - len(lines)
    more = f" {left_out} smaller ones are not listed here." if left_out else ""
    note = (
        "Measured on the surface that the network's field draws. Axial: the longest diameter in an axial slice and the "
        f"longest across it, where their product is largest, as RANO takes it; slices are counted from 0.{more}"
    )
    return f'{_table(heads, lines)}<p class="faint">{note}</p>'


def _table(heads: Sequence[str], lines: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Rows of a name and numbers; the first head stands over the names."""
    head = f"<th>{heads[0]}</th>" + "".join(f'<th class="number">{text}</th>' for text in heads[1:])
    rows = []
    for name, cells in lines:
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        rows.append(f"<tr><td>{escape(name)}</td>{numbers}</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _legend(segmentation: Segmentation) -> str:
    """What the colours of the picture are."""
    classes = "".join(
        f'<span><i style="background: rgb{item.color}"></i>{escape(item.title)}</span>'
        for item in segmentation.task.classes
    )
    note = "R, L, A, P, S, I: right, left, front, back, head, feet; slices are counted from 0."
    region = segmentation.region
    if region is not None and region.factor > 1:
        note += f" Voxels {region.factor:g} times finer than the scan's: interpolated beyond its resolution."
    return f'<p class="legend faint">{classes}{note}</p>'


def _steps_chart(segmentation: Segmentation) -> str:
    """A row for every step: when it was finished and what had been asked by then, as SVG."""
    records, times = segmentation.snapshots, segmentation.timings
    if not records:
        return ""
    last_s = max(records[-1].elapsed_s, 1e-6)
    rows = [("encoded", times.encoding_s, "")] if times.encoding_s >= 0.01 * last_s else []
    rows += [
        (f"step {record.step:g}", record.elapsed_s, f", {record.evaluated_locations:,} locations") for record in records
    ]
    height = 24 * len(rows)
    lines = []
    for number, (name, elapsed_s, locations) in enumerate(rows):
        y, length = 24 * number, max(2.0, 300 * elapsed_s / last_s)
        lines.append(
            f'<text x="70" y="{y + 16}" text-anchor="end">{name}</text>'
            f'<rect x="80" y="{y + 5}" width="{length:.1f}" height="14" rx="3"/>'
            f'<text x="{90 + length:.1f}" y="{y + 16}">{elapsed_s:.2f} s{locations}</text>'
        )
    label = "When every step was finished"
    return (
        f'<svg viewBox="0 0 640 {height}" role="img" aria-label="{label}">{"".join(lines)}</svg>'
        '<p class="faint">From coarse to fine: when a picture of each step was there, and how many locations the '
        "network had been asked for by then.</p>"
    )


def _provenance(volume: Volume, segmentation: Segmentation, images: Mapping[str, str]) -> str:
    made_by, times = segmentation.provenance, segmentation.timings
    scan = " × ".join(map(str, volume.shape)) + " voxels, " + " × ".join(f"{size:.3g}" for size in volume.spacing_mm)
    facts = {
        **{f"image, {name}": path for name, path in images.items()},
        "scan": f"{scan} mm, axes {volume.axis_codes}",
        "mask": f"{segmentation.whole.voxels:,} voxels",
        "weights": f"{made_by.weights} (variant {made_by.variant}, task {made_by.task})",
        "SHA-256 of the weights": made_by.sha256,
        "threshold, schedule": f"{segmentation.threshold:g}, {made_by.schedule}",
        "time": f"{times.elapsed_s:.1f} s on {made_by.device}; first picture after {times.first_snapshot_s:.1f} s",
        "cost": (
            f"{segmentation.evaluated_locations:,} locations, "
            f"{segmentation.peak_memory_bytes / 2**20:,.0f} MiB of memory at most"
        ),
        "versions": ", ".join(f"{name} {version}" for name, version in made_by.versions.items()),
    }
    if segmentation.region is not None:
        region = segmentation.region
        box = ", ".join(f"{a}:{b}" for a, b in zip(region.start, region.stop, strict=True))
        note = "; interpolated beyond the scan's resolution" if region.factor > 1 else ""
        facts["region"] = f"scan voxels {box}, {region.factor:g} times finer{note}"
    rows = (f'<tr><td>{escape(key)}</td><td class="wrap">{escape(value)}</td></tr>' for key, value in facts.items())
    return f'<table class="facts">{"".join(rows)}</table>'
