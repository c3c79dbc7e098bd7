"""The dense baselines that OSS-Net's paper compares with: residual U-Nets in 3D, and in 2D on slices.

Widths and group norm are the paper's (spec section 4). What it does not say is chosen here: two convolutions of 3 in a
block with a 1-convolution as its shortcut, leaky ReLU, halving by average pooling, doubling by linear interpolation
behind a 1-convolution to the width of the skip, and the two joined by concatenation.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.networks.context_encoder import run_to_end

if TYPE_CHECKING:
    from napari_ossnet.engine.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetConfig:
    """Everything that shapes a residual U-Net; the defaults are the paper's 3D one."""

    #: Image channels of the scan.
    in_channels: int
    #: Logits a voxel: 1 with a sigmoid, or background and the foreground classes with a softmax.
    classes: int = 1
    dimensions: Literal[2, 3] = 3
    #: Channels of each level on the way down, and (one level less) on the way back up.
    encoder_channels: tuple[int, ...] = (8, 32, 128, 384)
    decoder_channels: tuple[int, ...] = (128, 32, 8)
    groups: int = 8
    #: Axis of the grid that slices are stacked along, for two dimensions.
    slice_axis: int = 2
    #: Edge in voxels of the tiles that a network of three dimensions was trained by and answers in, since its norms see
    #: a tile alone; 0 takes the whole grid.
    tile_edge: int = 0

    def __post_init__(self) -> None:
        """Refuse what no network can be built from.

        Raises:
            InputError: Counts that don't fit each other.
        """
        object.__setattr__(self, "encoder_channels", tuple(self.encoder_channels))
        object.__setattr__(self, "decoder_channels", tuple(self.decoder_channels))
        problems = []
        if len(self.decoder_channels) != len(self.encoder_channels) - 1:
            problems.append("the decoder needs one level less than the encoder")
        if any(width % self.groups for width in (*self.encoder_channels, *self.decoder_channels)):
            problems.append(f"each level's channels must be a multiple of {self.groups} groups")
        if self.dimensions not in (2, 3) or self.slice_axis not in (0, 1, 2):
            problems.append("it has 2 or 3 dimensions and its slices lie along axis 0, 1 or 2")
        least = 2 ** len(self.encoder_channels)
        if self.tile_edge and (self.dimensions != 3 or self.tile_edge < least):
            problems.append(f"tile_edge is 0 or, in three dimensions, at least {least} voxels")
        if problems:
            raise InputError(f"This residual U-Net can't be built: {'; '.join(problems)}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a model card."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> UNetConfig:
        """The configuration that a model card holds.

        Raises:
            InputError: A key is unknown or missing.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(
                f"A residual U-Net has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}."
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"The settings of a residual U-Net are not complete: {error}.") from error


class ResidualBlock(nn.Module):
    """Convolution, norm, activation, convolution, norm; plus the shortcut; activation."""

    def __init__(self, channels: int, out_channels: int, groups: int, convolution: type[nn.Module]) -> None:
        super().__init__()
        self.first = convolution(channels, out_channels, 3, padding=1, bias=False)
        self.first_norm = nn.GroupNorm(groups, out_channels)
        self.second = convolution(out_channels, out_channels, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(groups, out_channels)
        is_same = channels == out_channels
        self.shortcut = nn.Identity() if is_same else convolution(channels, out_channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, ...) -> (batch, out_channels, ...)."""
        hidden = functional.leaky_relu(self.first_norm(self.first(features)))
        return functional.leaky_relu(self.second_norm(self.second(hidden)) + self.shortcut(features))


class ResidualUNet(nn.Module):
    """Logits for every voxel of a grid."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        convolution = nn.Conv3d if config.dimensions == 3 else nn.Conv2d
        widths = (config.in_channels, *config.encoder_channels)
        self.down = nn.ModuleList(
            ResidualBlock(width, following, config.groups, convolution)
            for width, following in itertools.pairwise(widths)
        )
        # From the deepest level up: below, the width of the skip, the width that comes out.
        skips = config.encoder_channels[-2::-1]
        below = (config.encoder_channels[-1], *config.decoder_channels)
        self.project = nn.ModuleList(convolution(width, skip, 1) for width, skip in zip(below, skips, strict=False))
        self.up = nn.ModuleList(
            ResidualBlock(2 * skip, width, config.groups, convolution)
            for skip, width in zip(skips, config.decoder_channels, strict=True)
        )
        self.last = convolution(config.decoder_channels[-1], config.classes, 1)

    @property
    def factor(self) -> int:
        """What each extent is padded to a multiple of."""
        return 2 ** (len(self.down) - 1)

    def forward(self, grids: Tensor) -> Tensor:
        """Logits (b, classes, i, j, k) of whole normalised grids (b, channels, i, j, k); in 2D slice by slice."""
        if self.config.dimensions == 3:
            return self.plane_logits(grids)
        axis = self.config.slice_axis + 2
        slices = grids.movedim(axis, 1)
        logits = self.plane_logits(slices.flatten(0, 1)).unflatten(0, slices.shape[:2])
        return logits.movedim(1, axis)

    def plane_logits(self, planes: Tensor) -> Tensor:
        """Logits (b, classes, ...) of slices (b, channels, ., .) or, in 3D, of grids (b, channels, i, j, k)."""
        return run_to_end(self.steps(planes))

    def steps(self, planes: Tensor) -> Generator[None, None, Tensor]:
        """``plane_logits`` with a pause after every block: there a run reports and can be stopped."""
        shape = planes.shape[2:]
        spare = [-extent % self.factor for extent in shape]
        features = functional.pad(planes, [side for extra in reversed(spare) for side in (0, extra)])
        pool = functional.avg_pool3d if self.config.dimensions == 3 else functional.avg_pool2d
        mode = "trilinear" if self.config.dimensions == 3 else "bilinear"
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            features = block(pool(features, 2) if level else features)
            skips.append(features)
            yield
        skips.pop()
        for project, block in zip(self.project, self.up, strict=True):
            raised = functional.interpolate(project(features), scale_factor=2, mode=mode)
            features = block(torch.cat([skips.pop(), raised], dim=1))
            yield
        logits: Tensor = self.last(features).float()
        return logits[(slice(None), slice(None), *(slice(extent) for extent in shape))]

    def bytes_per_voxel(self) -> int:
        """Working memory of inference for each voxel of a tile, about: what the finest decoder block holds at once."""
        finest = self.config.encoder_channels[0]
        return 4 * (self.config.in_channels + 4 * finest + 3 * self.config.decoder_channels[-1] + self.config.classes)


def config_for_task(variant: str, task: Task) -> dict[str, Any]:
    """Settings of ``unet-3d`` or ``unet-2d`` for a task, as plain values."""
    foreground = len(task.classes)
    shape: dict[str, Any] = {}
    if variant == "unet-2d":
        shape = {
            "dimensions": 2,
            "encoder_channels": (128, 256, 384, 512, 640),
            "decoder_channels": (512, 384, 256, 128),
        }
    classes = 1 if foreground == 1 else foreground + 1
    return UNetConfig(in_channels=len(task.modalities), classes=classes, **shape).to_dict()


def network_from_config(config: dict[str, Any]) -> ResidualUNet:
    """The network of a model card's settings, with fresh weights."""
    return ResidualUNet(UNetConfig.from_dict(config))
