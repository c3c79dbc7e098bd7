"""The benchmark's document as tables for people, each figure beside its target."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from napari_ossnet.engine.device import format_bytes

NOT_AVAILABLE = "n/a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure and what is wanted of it."""

    title: str
    value: float | None
    #: The bound; with ``is_most`` the most that is wanted, else the least.
    target: float
    is_most: bool = False
    pattern: str = "{:.2f}"

    @property
    def verdict(self) -> str:
        """Whether the target is met."""
        if self.value is None:
            return NOT_AVAILABLE
        return "yes" if (self.value <= self.target if self.is_most else self.value >= self.target) else "no"

    def shown(self, value: float | None) -> str:
        """A value in the figure's own manner."""
        return NOT_AVAILABLE if value is None else self.pattern.format(value)


def target_lines(document: dict[str, Any]) -> list[Line]:
    """Every target of the benchmark with what was measured."""
    return [*_speed_lines(document), *_cost_lines(document)]


def _speed_lines(document: dict[str, Any]) -> list[Line]:
    whole, x, decoder, first = (document[key] for key in ("end_to_end", "x", "decoder", "first_snapshot"))
    return [
        Line(title="C end to end, times faster than published", value=whole["ratio"], target=6),
        _mask_line("C", whole["voxels_different"]),
        Line(title="C locations", value=whole["locations"], target=60_000, is_most=True, pattern="{:,.0f}"),
        Line(title="X end to end, times faster than published", value=x["ratio"], target=6),
        _mask_line("X", x["voxels_different"]),
        Line(title="decoder, share of the matrix-product rate", value=decoder["matmul_fraction"], target=0.55),
        Line(title="encoder, times faster than published", value=document["encoder"]["ratio"], target=2.5),
        _seconds_line("first snapshot after encoding", first["after_encoding_s"], 0.3),
        _seconds_line("first snapshot in all", first["seconds"], 1.5),
    ]


def _cost_lines(document: dict[str, Any]) -> list[Line]:
    growth, memory = document["growth"], document["memory"]
    spread = growth["location_time_spread"]
    lits = memory["lits"] and memory["lits"]["total_bytes"]
    title = "time of a location, spread over resolutions"
    return [
        Line(title="growth exponent", value=growth["exponent"], target=2.2, is_most=True),
        Line(title=title, value=spread, target=0.15, is_most=True, pattern="{:.0%}"),
        _memory_line("memory above the scan, tumour task", memory["peak_bytes"], 0.6),
        _memory_line("memory in all, liver task", lits, 2.0),
    ]


def _mask_line(name: str, share: float | None) -> Line:
    title = f"{name} share of voxels different from the exhaustive mask"
    return Line(title=title, value=share, target=1e-5, is_most=True, pattern="{:.1e}")


def _seconds_line(title: str, seconds: float | None, target: float) -> Line:
    return Line(title=title, value=seconds, target=target, is_most=True, pattern="{:.2f} s")


def _memory_line(title: str, size: float | None, target_gb: float) -> Line:
    gigabytes = None if size is None else size / 1e9
    return Line(title=title, value=gigabytes, target=target_gb, is_most=True, pattern="{:.2f} GB")


def render(document: dict[str, Any]) -> RenderableType:
    """All tables, and the sentences that say what the figures are worth."""
    return Group(
        _targets(document), _scans(document), _peers(document["peers"]), *(Text(line) for line in remarks(document))
    )


def _targets(document: dict[str, Any]) -> Table:
    table = _table("Targets", "measure", "measured", "wanted", "met")
    for line in target_lines(document):
        bound = "at most" if line.is_most else "at least"
        table.add_row(line.title, line.shown(line.value), f"{bound} {line.shown(line.target)}", line.verdict)
    return table


def _scans(document: dict[str, Any]) -> Table:
    table = _table("Scans", "scan", "network", "seconds", "ratio", "locations", "different", "first picture")
    whole = document["end_to_end"]
    rows = {"published": whole["published"], "C": whole["scans"], "X": document["x"]["scans"]}
    for scan in document["scans"]:
        for name, by_scan in rows.items():
            row = by_scan.get(scan)
            if row is not None:
                table.add_row(scan, name, *_cells(row))
    return table


def _cells(row: dict[str, Any]) -> Iterable[str]:
    different, ratio = row["voxels_different"], row["ratio"]
    return (
        f"{row['seconds']:.2f}",
        NOT_AVAILABLE if ratio is None else f"{ratio:.1f}",
        f"{row['locations']:,}",
        NOT_AVAILABLE if different is None else f"{different:.1e} (of {row['exhaustive_share']:.0%})",
        f"{row['first_snapshot_s']:.2f} s",
    )


def _peers(peers: list[dict[str, Any]]) -> Table:
    table = _table("What one would take instead", "network", "seconds", "peak memory above the scan")
    for row in peers:
        if row["seconds"] is None:
            table.add_row(row["name"], NOT_AVAILABLE, row["note"])
        else:
            table.add_row(row["name"], f"{row['seconds']:.1f}", format_bytes(row["peak_bytes"]))
    return table


def remarks(document: dict[str, Any]) -> list[str]:
    """What a reader must know beside the figures."""
    lines = []
    machine = document["machine"]
    if machine["is_busy"]:
        lines.append(
            f"The machine was busy (load {machine['load']:.1f} on {machine['cores']} cores): seconds are too long, "
            "and ratios are less certain."
        )
    if document["end_to_end"]["not_available"]:
        lines.append(
            "No trained OSS-Net C is on this machine, so its rows are missing; encoder, decoder and memory were "
            "measured with untrained weights, which cost the same."
        )
    if document["x"].get("estimated_ratio") is not None:
        lines.append(
            f"X against the published form, estimated from its measured parts: {document['x']['estimated_ratio']:.1f} "
            f"times faster ({document['x']['estimated_cpu_ratio']:.1f} by CPU time)."
        )
    encoder, decoder = document["encoder"], document["decoder"]
    lines.append(
        f"By CPU time, which other programs disturb less: encoder {encoder['cpu_ratio']:.1f} times, decoder "
        f"{decoder['cpu_ratio']:.1f} times faster than published, decoder at {decoder['matmul_fraction_cpu']:.2f} of "
        "the matrix-product rate."
    )
    lines.append(f"Measured in {document['elapsed_s']:.0f} s on {machine['processor']}, {machine['threads']} threads.")
    return lines


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right")
    return table
