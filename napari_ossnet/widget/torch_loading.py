"""Owns how torch comes into a running window: late, without freezing it, and with an answer where it is missing."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import platform
import sys
from pathlib import Path

_log = logging.getLogger(__name__)

#: In the order in which they depend on each other.
_LIBRARIES = ("libc10.so", "libtorch_cpu.so", "libtorch_python.so")
_RTLD_NOW = 2

INSTALL_COMMAND = "pip install torch"


def torch_problem() -> str | None:
    """Why no network can run here, and the command that cures it; None where torch is installed.

    Only looks whether the package is there; nothing is imported.
    """
    if "torch" in sys.modules or importlib.util.find_spec("torch") is not None:
        return None
    return (
        "PyTorch is not installed, so nothing can be segmented yet. Install it in a terminal with "
        f"'{INSTALL_COMMAND}' (pytorch.org/get-started has the command for your GPU), then restart napari."
    )


def import_torch() -> None:
    """Imports torch from a worker thread; returns at once where that was done before.

    Python holds its global lock while it loads a library, and torch's largest one takes over 0.3 s: every window of
    the process would stand still. A foreign call gives the lock back, so the libraries are loaded by such calls first.

    Raises:
        ImportError: torch is missing, or a library that it needs is; on Windows mostly the Visual C++ runtime.
    """
    if "torch" in sys.modules:
        return
    if sys.platform == "linux":
        _load_libraries()
    try:
        import torch  # noqa: F401
    except OSError as error:
        # pytorch#166628: on Windows torch's libraries may fail to load after Qt's; the cause is the C++ runtime.
        hint = " Install the newest Microsoft Visual C++ Redistributable." if platform.system() == "Windows" else ""
        raise ImportError(f"PyTorch is installed but can't be loaded ({error}).{hint}") from error
    _leave_a_core_to_the_window()


def _leave_a_core_to_the_window() -> None:
    """Keeps torch off one core.

    Its threads wait for each other after every operation; where the window takes one of their cores for a moment, all
    of them stand still, and a run was seen to take twenty times as long. Said otherwise by the user's own setting.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) - 1)))


def _load_libraries() -> None:
    specification = importlib.util.find_spec("torch")
    if specification is None or specification.origin is None:
        return
    folder = Path(specification.origin).parent / "lib"
    loader = ctypes.CDLL(None).dlopen
    loader.restype = ctypes.c_void_p
    for name in _LIBRARIES:
        if (folder / name).is_file() and not loader(str(folder / name).encode(), _RTLD_NOW):
            _log.debug("%s could not be loaded ahead; the import will say why.", name)


def is_gpu_likely() -> bool:
    """Whether this machine seems to have a GPU that torch could use, without asking torch."""
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    if platform.system() == "Linux":
        return Path("/proc/driver/nvidia/gpus").is_dir() or Path("/dev/kfd").exists()
    return (Path(r"C:\Windows\System32") / "nvcuda.dll").is_file()
