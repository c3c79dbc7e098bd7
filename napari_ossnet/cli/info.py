"""``ossnet info``: what a bug report needs."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from napari_ossnet import __version__
from napari_ossnet.engine.catalogue import list_entries, local_path, ossnet_home
from napari_ossnet.engine.device import format_bytes, list_devices

_PACKAGES = (
    "torch", "numpy", "numba", "nibabel", "scikit-image", "safetensors", "SimpleITK", "highdicom", "pydicom",
    "matplotlib", "napari", "PyQt6", "vtk", "lightning", "monai",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Info:
    """Print what a bug report needs: versions, devices, memory, weights."""

    json: bool = False
    """Print JSON instead of text."""

    def run(self) -> None:
        """Prints it."""
        facts = gather_facts()
        print(json.dumps(facts, indent=2) if self.json else _as_text(facts))


def gather_facts() -> dict[str, Any]:
    """Everything that is printed, as JSON values."""
    return {
        "napari-ossnet": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "packages": {name: _version_of(name) for name in _PACKAGES},
        "cuda_build": _cuda_build(),
        "devices": [
            {"name": d.name, "title": d.title, "free_bytes": d.free_bytes, "total_bytes": d.total_bytes}
            for d in list_devices()
        ],
        "home": str(ossnet_home()),
        "weights": [
            {"name": entry.name, "task": entry.task, "variant": entry.variant}
            for entry in list_entries()
            if local_path(entry) is not None
        ],
    }


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cuda_build() -> str | None:
    import torch

    return torch.version.cuda


def _as_text(facts: dict[str, Any]) -> str:
    lines = [f"{key:14} {facts[key]}" for key in ("napari-ossnet", "python", "executable", "system", "cpus", "home")]
    lines += ["", "Packages"]
    lines += [f"  {name:12} {version or 'not installed'}" for name, version in facts["packages"].items()]
    lines += ["", f"Devices (this torch was built {_built_for(facts['cuda_build'])})"]
    lines += [f"  {device['name']:12} {device['title']}{_memory(device)}" for device in facts["devices"]]
    lines += ["", "Weights on this machine"]
    lines += [f"  {weights['name']} ({weights['task']}, {weights['variant']})" for weights in facts["weights"]]
    return "\n".join(lines if facts["weights"] else [*lines, "  none"])


def _built_for(cuda: str | None) -> str:
    return f"for CUDA {cuda}" if cuda else "without CUDA"


def _memory(device: dict[str, Any]) -> str:
    if device["total_bytes"] is None:
        return ""
    free = "" if device["free_bytes"] is None else f"{format_bytes(device['free_bytes'])} free of "
    return f", {free}{format_bytes(device['total_bytes'])}"
