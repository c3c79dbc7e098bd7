"""Owns what the engine needs besides Slicer's own packages: looks what is missing, asks, installs.

Torch comes by the PyTorch extension (PyTorchUtils), which picks the build that fits the graphics card, the rest by
``slicer.packaging`` (Slicer 5.12) or ``slicer.util.pip_install`` (5.10). What Slicer owns is never touched: numpy,
scipy, SimpleITK, vtk, requests. Nothing is imported or installed before the user asks for a segmentation.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from pathlib import Path

import slicer

TORCH_REQUIREMENT = ">=2.2"
RESTART_HINT = "Restart Slicer if packages were replaced while it ran."


class InstallationError(Exception):
    """What is needed could not be installed; the sentence says what to do."""


class Installation:
    """The third-party packages of ``Resources/requirements.txt``, and torch.

    Args:
        requirements_file: A requirement a line, without torch.
    """

    def __init__(self, requirements_file: str | Path) -> None:
        self._file = Path(requirements_file)

    def requirements(self) -> list[str]:
        """The lines that name a package."""
        lines = (line.split("#")[0].strip() for line in self._file.read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line]

    def missing(self) -> list[str]:
        """What is not installed yet, torch last."""
        names = [*self.requirements(), f"torch{TORCH_REQUIREMENT}"]
        return [name for name in names if not is_installed(name)]

    def ensure(self) -> None:
        """Install what is missing, after asking.

        Raises:
            InstallationError: The user declined, or it failed.
        """
        missing = self.missing()
        if not missing:
            return
        question = (
            f"OSS-Net needs packages that are not in this Slicer yet: {', '.join(missing)}. "
            "They are downloaded from the Python Package Index. Torch is large: Slicer does not respond for some "
            "minutes, until it is there. Install them now?"
        )
        if not slicer.util.confirmOkCancelDisplay(question, windowTitle="OSS-Net"):
            raise InstallationError("Nothing was installed. OSS-Net can't segment without these packages.")
        with slicer.util.tryWithErrorDisplay(show=False, waitCursor=True):
            self._install_all(missing)
        importlib.invalidate_caches()
        still_missing = self.missing()
        if still_missing:
            raise InstallationError(f"These packages are still missing: {', '.join(still_missing)}. {RESTART_HINT}")

    def _install_all(self, missing: list[str]) -> None:
        others = [name for name in missing if not name.startswith("torch")]
        if others:
            self._install(others)
        if len(others) < len(missing):
            _install_torch()

    def _install(self, names: list[str]) -> None:
        try:
            if hasattr(slicer, "packaging"):
                slicer.packaging.pip_ensure(
                    slicer.packaging.load_requirements(str(self._file)), requester="OSSNet", prompt_install=False
                )
            else:
                # Slicer 5.10 has no slicer.packaging; to be removed with its support.
                slicer.util.pip_install(names)
        except Exception as error:
            raise InstallationError(f"Installing {', '.join(names)} failed: {error}. {RESTART_HINT}") from error


def _install_torch() -> None:
    try:
        import PyTorchUtils
    except ImportError as error:
        raise InstallationError(
            "The PyTorch extension is needed to install torch: get it in the Extensions Manager and restart Slicer."
        ) from error
    logic = PyTorchUtils.PyTorchUtilsLogic()
    try:
        is_there = logic.torchInstalled() or logic.installTorch(torchVersionRequirement=TORCH_REQUIREMENT) is not None
    except Exception as error:
        raise InstallationError(f"Installing torch failed: {error}. {RESTART_HINT}") from error
    if not is_there:
        raise InstallationError("PyTorch was not installed; use the module PyTorch Util to see why.")


def is_installed(requirement: str) -> bool:
    """Whether a package is there, and not older than a requirement such as ``nibabel>=5.2`` asks for."""
    name, _, lowest = requirement.partition(">=")
    try:
        found = importlib.metadata.version(name.strip())
    except importlib.metadata.PackageNotFoundError:
        return False
    return _numbers(found) >= _numbers(lowest)


def _numbers(version: str) -> list[int]:
    """The release of a version, such as 2 and 13 and 0 of 2.13.0+cpu."""
    return [int(number) for number in re.findall(r"\d+", re.split(r"[+a-z]", version)[0])]
