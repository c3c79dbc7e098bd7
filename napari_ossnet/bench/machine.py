"""What the benchmark ran on, and how busy it was."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from napari_ossnet import __version__
from napari_ossnet.engine.host_memory import host_memory_bytes
from napari_ossnet.engine.kernels.compilation import is_compiled

#: Above this load for each core other programs slow the figures down noticeably.
BUSY_LOAD = 1.3


def describe_machine(device: str) -> dict[str, Any]:
    """Processor, memory, versions and the load of the last minute, as JSON values."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    cores = os.cpu_count() or 1
    title = _processor()
    if device.startswith("cuda"):
        title = f"{torch.cuda.get_device_name(device)}; {title}"
    return {
        "processor": title,
        "cores": cores,
        "threads": torch.get_num_threads(),
        "memory_bytes": host_memory_bytes()[1],
        "system": platform.platform(),
        "device": device,
        "has_compiled_kernels": is_compiled(),
        "versions": {"napari_ossnet": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "load": load,
        # At the start: the benchmark itself loads every core.
        "is_busy": load is not None and load / cores > BUSY_LOAD,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
