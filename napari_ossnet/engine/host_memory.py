"""The memory of the machine itself, as Linux, macOS and Windows report it, without psutil."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path


def host_peak_bytes() -> int:
    """The largest resident memory of this process so far; 0 where the system does not tell."""
    if sys.platform == "win32":
        return _windows_peak_bytes()
    status = Path("/proc/self/status")
    if status.is_file():
        # Not ru_maxrss: on Linux it survives exec and would report the parent's peak.
        peak = _kilobytes(status.read_text(encoding="utf-8"), "VmHWM")
        if peak is not None:
            return peak
    import resource

    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(highest if sys.platform == "darwin" else highest * 1024)


def host_memory_bytes() -> tuple[int | None, int | None]:
    """Free and total memory of the machine in bytes, the container's limit included; None where unknown."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        text = meminfo.read_text(encoding="utf-8")
        free, total = (_kilobytes(text, key) for key in ("MemAvailable", "MemTotal"))
        limit, used = _container_memory_bytes()
        if limit is not None and total is not None and limit < total:
            return min(free or limit, limit - used), limit
        return free, total
    if sys.platform == "win32":
        return _windows_memory_bytes()
    import os

    try:
        return None, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None, None


def _kilobytes(text: str, key: str) -> int | None:
    match = re.search(rf"^{key}:\s+(\d+) kB", text, flags=re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _container_memory_bytes() -> tuple[int | None, int]:
    """The limit of the control group that we run in (None without one) and what it uses beyond the page cache."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="utf-8").strip()
        # The page cache counts as used there, although it gives way.
        cached = re.search(
            r"^inactive_file (\d+)", (folder / "memory.stat").read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        used = int((folder / "memory.current").read_text(encoding="utf-8")) - (int(cached[1]) if cached else 0)
    except (OSError, ValueError):
        return None, 0
    return (None, 0) if limit == "max" else (int(limit), used)


def _windows_memory_bytes() -> tuple[int | None, int | None]:
    class MemoryStatus(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "tp", "fp", "tv", "fv", "fe")),
        )

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    if not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return int(status.free), int(status.total)


def _windows_peak_bytes() -> int:
    class Counters(ctypes.Structure):
        _fields_ = (
            ("size", ctypes.c_ulong),
            ("faults", ctypes.c_ulong),
            ("peak", ctypes.c_size_t),
            *((f"other_{index}", ctypes.c_size_t) for index in range(7)),
        )

    counters = Counters(size=ctypes.sizeof(Counters))
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(kernel.GetCurrentProcess())
    if not kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.size):
        return 0
    return int(counters.peak)
