"""Errors that reach the user: one clear sentence each, what was expected, what was found, what to do next.

They are rooted in ``Exception`` and not in ``RuntimeError``, because napari's generator workers take a
``RuntimeError`` for a deleted worker and then emit neither ``errored`` nor ``finished``.
"""

from __future__ import annotations


class EngineError(Exception):
    """Something that the user can act on; its text is shown as it is."""


class InputError(EngineError):
    """A scan, a task or an option that can't be used as given."""


class WeightsError(EngineError):
    """Weights that are unknown, missing, damaged or made for something else."""


class DownloadError(WeightsError):
    """Weights that could not be fetched now, and may be later."""


class OutputError(EngineError):
    """A result that can't be written where the user asked for it."""


class DeviceError(EngineError):
    """A device that is not there or that failed."""


class OutOfMemoryError(DeviceError):
    """A device whose memory did not suffice even for the smallest chunk."""
