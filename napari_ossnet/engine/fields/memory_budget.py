"""What a network of the OSS-Net family takes on a CPU, known in time to refuse a budget that is too small."""

from __future__ import annotations

import math

import torch

from napari_ossnet.engine.device import format_bytes
from napari_ossnet.engine.errors import OutOfMemoryError
from napari_ossnet.engine.fields.slab_encoder import usual_slab_bytes
from napari_ossnet.engine.kernels.compilation import is_compiled
from napari_ossnet.engine.networks.context_encoder import SLAB_VOXELS
from napari_ossnet.engine.networks.oss_net import OSSNetConfig
from napari_ossnet.engine.networks.oss_net_x_config import XConfig

_MIB = 2**20
#: Measured: numba with LLVM and the loaded kernels.
_KERNEL_BYTES = 140 * _MIB
#: Measured: folded weights and the libraries' own buffers; and the features of one block of locations, for each core.
_QUERY_BYTES = 12 * _MIB
_BLOCK_BYTES = 7 * _MIB
#: Measured: the same without kernels, where torch makes a copy of a block's windows for every step.
_TORCH_BLOCK_BYTES = 40 * _MIB
#: Slabs in flight at the widest place: input with halo, output, what the convolution arranges anew.
_SLABS = 4
#: Measured: X's folded weights, the windows and blocks that are convolved at once, and the libraries' own buffers.
_X_QUERY_BYTES = 60 * _MIB


def required_bytes(config: OSSNetConfig) -> int:
    """Peak memory above the loaded scan, in bytes: the network's grid, the encoder's volumes, kernels, work space."""
    voxels = math.prod(config.grid_shape)
    grid = 4 * config.in_channels * voxels
    # The encoder's input in two memory orders (one where it has one channel), and the two halves of its first block.
    half = grid // 8 * min(config.in_channels, 2)
    first_block = 2 * 4 * config.encoder_channels[0] * voxels // 64
    cores = torch.get_num_threads()
    slabs = _SLABS * min(cores * usual_slab_bytes(torch.device("cpu")), 4 * config.encoder_channels[0] * voxels // 8)
    if is_compiled():
        return grid + half + first_block + slabs + _QUERY_BYTES + cores * _BLOCK_BYTES + _KERNEL_BYTES
    # Without kernels windows are gathered from padded copies: 8 voxels on each side, and 15 for mid-range windows.
    copies = sum(
        4 * config.in_channels * math.prod(size + 2 * padding for size in config.grid_shape)
        for padding, is_there in ((8, config.has_local_patches), (15, config.has_mid_range_patches))
        if is_there
    )
    return grid + max(half + first_block + slabs, copies) + _QUERY_BYTES + cores * _TORCH_BLOCK_BYTES


def required_bytes_of_x(config: XConfig, encoded_shape: tuple[int, ...], grid_bytes: int) -> int:
    """The same for X, without kept local features: the grid, the stem's slab, the first level four times, kernels.

    Args:
        config: Of the network.
        encoded_shape: Voxels of the part of the grid that the encoder sees.
        grid_bytes: What the network's grid takes beside the scan; 0 where the scan itself serves.
    """
    voxels = math.prod(encoded_shape)
    first_level = 4 * config.level_channels[0] * voxels // 8 ** len(config.stem_channels)
    slab = 2 * 4 * config.in_channels * min(voxels, SLAB_VOXELS)
    return grid_bytes + slab + 4 * first_level + _X_QUERY_BYTES + is_compiled() * _KERNEL_BYTES


def check_budget(needed: int, memory_bytes: int | None) -> None:
    """Refuse a budget that can't be kept.

    Raises:
        OutOfMemoryError: The CPU's part of the work takes more.
    """
    if memory_bytes is not None and memory_bytes < 0.95 * needed:
        raise OutOfMemoryError(
            f"This network takes about {format_bytes(needed)} beside the scan on the CPU, and --memory allows "
            f"{format_bytes(memory_bytes)}; allow that much, or leave --memory out."
        )
