"""From a network and a prepared scan to a field: encoding, on a device, within a memory budget.

Which module builds the field of which network is data; a module is imported only when its network comes. It has a
function ``build(network, prepared, *, device, memory_bytes)`` as ``build_field`` has it, a generator of ``Progress``
that returns the field.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from importlib import import_module
from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.events import Progress
from napari_ossnet.engine.torch_errors import as_engine_errors

if TYPE_CHECKING:
    from napari_ossnet.engine.fields.protocol import OccupancyField
    from napari_ossnet.engine.scans.preparation import PreparedVolume

_FIELDS = "napari_ossnet.engine.fields"

#: Class of a network to the module that builds its field.
FIELD_BUILDERS: dict[str, str] = {
    "OSSNet": f"{_FIELDS}.oss_net_build",
    "OSSNetX": f"{_FIELDS}.oss_net_x",
    "ResidualUNet": f"{_FIELDS}.dense",
    "PFSeg": f"{_FIELDS}.pfseg",
}


def build_field(
    network: nn.Module,
    prepared: PreparedVolume,
    *,
    device: torch.device,
    memory_bytes: int | None = None,
) -> Generator[Progress, None, OccupancyField]:
    """Encode a scan; what comes back can be asked for any location.

    Args:
        network: In eval mode; it is moved to ``device`` and stays there.
        prepared: The scan in the network's grid.
        device: Where to encode and to answer.
        memory_bytes: What the work may take there beside the scan; None leaves it to the implementation.

    Raises:
        InputError: The network has other input channels or another grid than the scan, or is of an unknown kind.
        OutOfMemoryError: The memory of the device did not suffice.
        DeviceError: The device failed.
    """
    kind = type(network).__name__
    if kind not in FIELD_BUILDERS:
        raise InputError(f"There is no field for networks of the kind {kind}; known are {', '.join(FIELD_BUILDERS)}.")
    build = import_module(FIELD_BUILDERS[kind]).build
    yield Progress(stage="encoding")
    return (yield from as_engine_errors(build(network, prepared, device=device, memory_bytes=memory_bytes)))


def encoding_progress(started_at: float, share: float) -> Progress:
    """Progress of an encoding that began at ``started_at`` (``time.perf_counter``), done to this share (0 to 1)."""
    elapsed_s = time.perf_counter() - started_at
    return Progress(
        stage="encoding",
        elapsed_s=elapsed_s,
        remaining_s=elapsed_s * (1 - share) / share if share > 0 else None,
    )
