"""The devices: which there are, which one is used, and how much of its memory a run may take."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_ossnet.engine.errors import DeviceError, InputError
from napari_ossnet.engine.host_memory import host_memory_bytes, host_peak_bytes

if TYPE_CHECKING:
    import torch

    from napari_ossnet.engine.fields.protocol import OccupancyField

#: Fewer locations than this a chunk cost more in overhead than they save in memory.
SMALLEST_CHUNK = 256
#: More than this brings no device any further; it is the largest pass that the paper measured (2^17).
LARGEST_CHUNK = 2**17
#: Without a budget, this share of what is free now: other programs, and our own encoder, need the rest.
FREE_SHARE = 0.5

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """A device as a user picks it."""

    #: As torch spells it: ``cpu``, ``cuda:0``, ``mps``.
    name: str
    title: str
    #: Bytes; None where the system does not tell.
    free_bytes: int | None = None
    total_bytes: int | None = None


def list_devices() -> list[DeviceInfo]:
    """Every device that a network can run on here, the best one first."""
    import torch

    devices = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        title = torch.cuda.get_device_name(index)
        devices.append(DeviceInfo(name=f"cuda:{index}", title=title, free_bytes=free, total_bytes=total))
    devices.sort(key=lambda device: -(device.free_bytes or 0))
    if torch.backends.mps.is_available():
        devices.append(DeviceInfo(name="mps", title="Apple GPU", total_bytes=host_memory_bytes()[1]))
    free_host, total_host = host_memory_bytes()
    title = f"CPU, {torch.get_num_threads()} threads"
    return [*devices, DeviceInfo(name="cpu", title=title, free_bytes=free_host, total_bytes=total_host)]


def choose_device(name: str = "auto") -> torch.device:
    """The device that a name stands for.

    Args:
        name: ``auto`` (the GPU with the most free memory, else the Apple GPU, else the CPU), ``cpu``, ``cuda``,
            ``cuda:n`` or ``mps``.

    Raises:
        InputError: The name is none of these.
        DeviceError: The device is not there.
    """
    import torch

    wanted = name.strip().lower()
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", wanted):
        msg = f"The device must be auto, cpu, cuda, cuda:n or mps, got {name!r}."
        raise InputError(msg)
    devices = list_devices()
    if wanted == "auto":
        return torch.device(devices[0].name)
    for device in devices:
        if device.name == wanted or (wanted == "cuda" and device.name.startswith("cuda:")):
            return torch.device(device.name)
    msg = f"There is no device {name} here, only {', '.join(device.name for device in devices)}; {_cure(wanted)}."
    raise DeviceError(msg)


def _cure(wanted: str) -> str:
    import torch

    if wanted.startswith("cuda") and torch.version.cuda is None and torch.version.hip is None:
        return "this torch was built without CUDA: install the CUDA build (pytorch.org/get-started) or use cpu"
    return "use one of these, or auto"


def parse_memory(text: str) -> int:
    """The number of bytes that a text such as ``2GiB``, ``1.5 GB``, ``800M`` or ``1000000`` stands for.

    Raises:
        InputError: The text is no amount of memory, or one that is too small for any run.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?\s*", text, flags=re.IGNORECASE)
    if match is None or match[2].upper() not in _UNITS:
        msg = f"Memory must be an amount such as 2GiB, 1.5GB or 800MiB, got {text!r}."
        raise InputError(msg)
    size = int(float(match[1]) * _UNITS[match[2].upper()])
    if size < 2**20:
        msg = f"At least 1MiB of memory is needed, got {text!r} ({size} bytes); did you leave out the unit, as in 2GiB?"
        raise InputError(msg)
    return size


def format_bytes(size: float) -> str:
    """A size as people read it: ``812 MiB``, ``2.6 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if size >= 100 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


def chunk_size_for(memory_bytes: int | None, field: OccupancyField) -> int:
    """The number of locations that one pass through the field may hold.

    Args:
        memory_bytes: The budget for a pass; None takes half of what is free on the field's device.
        field: Says how many bytes a location needs (``bytes_per_location``) and where it lives.
    """
    if memory_bytes is None:
        free = free_memory_bytes(field.device)
        memory_bytes = int(free * FREE_SHARE) if free is not None else 2**31
    return max(SMALLEST_CHUNK, min(LARGEST_CHUNK, memory_bytes // max(1, field.bytes_per_location)))


def free_memory_bytes(device: torch.device) -> int | None:
    """Bytes that are free on a device now; None where the system does not tell."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return host_memory_bytes()[0]


def release_memory() -> None:
    """Gives unused memory back: the GPU's cached blocks to the driver, the allocator's free pages to the system."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch is not None and torch.backends.mps.is_available():
        torch.mps.empty_cache()
    if sys.platform == "linux":
        # glibc keeps freed pages of large tensors unless it is asked; musl has no such call.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def peak_memory_bytes(device: torch.device | None = None) -> int:
    """The most memory that this process has held so far.

    Args:
        device: For a CUDA device its own memory as torch has allocated it; else the process's resident memory.
    """
    if device is not None and device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    return host_peak_bytes()
