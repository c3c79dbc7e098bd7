"""OSS-Net X: the same continuous field as OSS-Net, from feature volumes that are sampled at a location.

OSS-Net (Reich et al., BMVC 2021) looks at a 7^3 patch that is convolved anew for every location, and unpacks it with a
wide decoder. Here local observations are computed once, as feature volumes, and sampled trilinearly, so that the
decoder can be small. What comes from whom:

- features on grids at several scales, sampled trilinearly and decoded by a small residual network: Convolutional
  Occupancy Networks (Peng et al., ECCV 2020) and Implicit Feature Networks (Chibane et al., CVPR 2020);
- local observation at native resolution beside a global one, the decoder conditioned on the whole volume, and the
  auxiliary segmentation with its loss: OSS-Net;
- of our own: local branches without norm or padding, so that any box of the grid can be computed by itself (training
  from boxes, lazy features at inference), and a stem of halving convolutions through which the encoder reads native
  voxels at the cost of a smaller grid.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.networks.context_encoder import ContextEncoder, run_to_end
from napari_ossnet.engine.networks.local_features import LocalBranch
from napari_ossnet.engine.networks.location_decoder import LocationDecoder
from napari_ossnet.engine.networks.pade import PadeActivation
from napari_ossnet.engine.networks.trilinear import feature_frame, sample_trilinear

if TYPE_CHECKING:
    from napari_ossnet.engine.tasks import Task

#: First and past-the-last voxel of a part of the grid.
Window = tuple[tuple[int, int, int], tuple[int, int, int]]

ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "leaky-relu": nn.LeakyReLU, "pade": PadeActivation}


@dataclass(frozen=True, slots=True, kw_only=True)
class XConfig:
    """Everything that shapes an OSS-Net X."""

    #: Image channels of the scan.
    in_channels: int
    #: Logits a location: 1 with a sigmoid, or background and the foreground classes with a softmax.
    classes: int = 1
    #: Local branches: the scale of each (1: native voxels, 2: 2^3 voxels mixed into one), and its convolutions'
    #: channels. Empty for none.
    local_scales: tuple[int, ...] = (1,)
    local_channels: tuple[tuple[int, ...], ...] = ((16, 16, 16),)
    #: Channels that the voxels of a branch with a scale above 1 are mixed into.
    local_mixed_channels: int = 16
    #: Channels after each halving of the encoder's stem; the last equals the first level's.
    stem_channels: tuple[int, ...] = (32,)
    level_channels: tuple[int, ...] = (32, 64, 96)
    #: Residual convolutions a level, on the way down and (one level less) on the way up.
    down_convolutions: tuple[int, ...] = (1, 2, 2)
    up_convolutions: tuple[int, ...] = (1, 1)
    groups: int = 8
    #: Levels whose features are sampled at a location, finest first; 0 for none.
    sampled_levels: int = 2
    decoder_width: int = 128
    decoder_blocks: int = 2
    #: How the pooled deepest features reach the decoder.
    context: Literal["modulation", "input", "none"] = "modulation"
    has_coordinates: bool = True
    activation: Literal["silu", "leaky-relu", "pade"] = "silu"
    #: Whether the encoder sees the ``encoding_window`` around the anatomy rather than the whole grid.
    encodes_foreground: bool = False

    def __post_init__(self) -> None:
        """Refuse what no network can be built from.

        Raises:
            InputError: Lists whose lengths don't fit each other, widths that the groups don't divide, unknown names.
        """
        for name in ("local_scales", "stem_channels", "level_channels", "down_convolutions", "up_convolutions"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "local_channels", tuple(tuple(widths) for widths in self.local_channels))
        problems = [*self._list_problems(), *self._value_problems()]
        if problems:
            raise InputError(f"This OSS-Net X can't be built: {'; '.join(problems)}.")

    def _list_problems(self) -> list[str]:
        problems = []
        levels = len(self.level_channels)
        if len(self.local_scales) != len(self.local_channels) or not all(self.local_channels):
            problems.append("each local scale needs a list of channels, and each list a scale")
        if not levels or len(self.down_convolutions) != levels or len(self.up_convolutions) != levels - 1:
            problems.append(f"{levels} levels need {levels} counts on the way down and one less on the way up")
        if not self.stem_channels or self.stem_channels[-1:] != self.level_channels[:1]:
            problems.append("the stem's last channels must equal the first level's")
        if any(width % self.groups for width in self.level_channels):
            problems.append(f"each level's channels must be a multiple of {self.groups} groups")
        return problems

    def _value_problems(self) -> list[str]:
        problems = []
        if not 0 <= self.sampled_levels <= len(self.level_channels):
            problems.append(f"sampled levels must be 0 to {len(self.level_channels)}, not {self.sampled_levels}")
        if not self.sampled_levels and not self.local_scales:
            problems.append("a location needs local branches, sampled levels, or both")
        if self.context not in ("modulation", "input", "none"):
            problems.append(f"context must be modulation, input or none, not '{self.context}'")
        if self.activation not in ACTIVATIONS:
            problems.append(f"activation must be one of {', '.join(ACTIVATIONS)}, not '{self.activation}'")
        return problems

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a model card."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> XConfig:
        """The configuration that a model card holds.

        Raises:
            InputError: A key is unknown or missing.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"OSS-Net X has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"The settings of an OSS-Net X are not complete: {error}.") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class XEncoding:
    """What the encoder makes of volumes."""

    #: Sampled feature volumes (b, channels, i, j, k), finest first, and the width of their voxels in grid voxels.
    levels: tuple[Tensor, ...]
    scales: tuple[int, ...]
    #: Pooled deepest features, (b, context).
    context: Tensor
    #: Logits of the auxiliary segmentation (b, 1, i, j, k) on the deepest level: "something here is foreground".
    auxiliary: Tensor
    #: Width of the auxiliary segmentation's cells in grid voxels.
    auxiliary_scale: int
    #: Extent of the grid and the first voxel of the part that was encoded.
    grid_shape: tuple[int, int, int]
    origin: tuple[int, int, int]


class OSSNetX(nn.Module):
    """Encode a volume once, compute local features where they are wanted, decode any number of locations."""

    def __init__(self, config: XConfig) -> None:
        super().__init__()
        self.config = config
        activation = ACTIVATIONS[config.activation]
        self.local_branches = nn.ModuleList(
            LocalBranch(config.in_channels, widths, scale, config.local_mixed_channels, activation)
            for scale, widths in zip(config.local_scales, config.local_channels, strict=True)
        )
        self.encoder = ContextEncoder(
            config.in_channels,
            config.stem_channels,
            config.level_channels,
            config.down_convolutions,
            config.up_convolutions,
            config.groups,
            activation,
        )
        deepest = config.level_channels[-1]
        self.auxiliary = nn.Conv3d(deepest, 1, 1)
        inputs = 3 * config.has_coordinates + sum(widths[-1] for widths in config.local_channels)
        inputs += sum(config.level_channels[: config.sampled_levels])
        inputs += deepest if config.context == "input" else 0
        modulation = deepest if config.context == "modulation" else 0
        self.decoder = LocationDecoder(
            inputs, config.decoder_width, config.decoder_blocks, modulation, config.classes, activation
        )

    @property
    def branches(self) -> list[LocalBranch]:
        """The local branches, finest first."""
        return [branch for branch in self.local_branches if isinstance(branch, LocalBranch)]

    def encode(self, volume: Tensor, window: Window | None = None) -> XEncoding:
        """Feature volumes, context and auxiliary segmentation.

        Args:
            volume: The normalised grid, (b, channels, i, j, k).
            window: First and past-the-last voxel of the part to encode, of ``encoding_window``; the whole grid
                without. Norms and context see the window alone, so train and infer with the same rule.
        """
        return run_to_end(self.encode_steps(volume, window))

    def encode_steps(self, volume: Tensor, window: Window | None = None) -> Generator[None, None, XEncoding]:
        """The same with pauses, where a run can report and be stopped."""
        grid_shape = (volume.shape[2], volume.shape[3], volume.shape[4])
        start, stop = window or ((0, 0, 0), grid_shape)
        part = volume[:, :, start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]]
        factor = self.encoder.factor
        spare = [-extent % factor for extent in part.shape[2:]]
        if any(spare):
            part = functional.pad(part, [0, spare[2], 0, spare[1], 0, spare[0]])
        outputs = yield from self.encoder.steps(part)
        sampled = self.config.sampled_levels
        return XEncoding(
            levels=tuple(outputs[:sampled]),
            scales=self.encoder.scales[:sampled],
            context=outputs[-1].float().mean(dim=(2, 3, 4)),
            auxiliary=self.auxiliary(outputs[-1]).float(),
            auxiliary_scale=factor,
            grid_shape=grid_shape,
            origin=start,
        )

    def sample_levels(self, encoding: XEncoding, locations: Tensor) -> list[Tensor]:
        """What the encoder's levels hold at locations (b, n, 3) of the grid: (b, n, channels) each."""
        inside = locations - locations.new_tensor(encoding.origin)
        return [
            sample_trilinear(level, feature_frame(inside, scale))
            for level, scale in zip(encoding.levels, encoding.scales, strict=True)
        ]

    def local_features(self, volume: Tensor) -> list[Tensor]:
        """Local features of whole grids (b, channels, i, j, k), a volume a branch: for small grids, and as oracle."""
        return [branch.whole(volume) for branch in self.branches]

    def sample_local(self, features: list[Tensor], locations: Tensor) -> list[Tensor]:
        """What the branches' whole feature volumes hold at locations (b, n, 3): (b, n, channels) each."""
        return [
            sample_trilinear(volume, branch.frame(locations))
            for branch, volume in zip(self.branches, features, strict=True)
        ]

    def sample_local_boxes(self, volume: Tensor, corners: Tensor, size: int, locations: Tensor) -> list[Tensor]:
        """The same from boxes of the grid alone, with the halo that the branches need.

        Args:
            volume: (b, channels, i, j, k).
            corners: First grid voxel of each box, int (b, m, 3); boxes may leave the grid.
            size: Voxels of a box on each axis.
            locations: (b, m, p, 3) in the grid's frame, within [corner, corner + size - 1] of their box.

        Returns:
            (b, m p, channels) a branch.
        """
        batch, boxes = corners.shape[:2]
        firsts = [tuple(corner) for corner in corners.reshape(-1, 3).tolist()]
        sampled = []
        for branch in self.branches:
            covers = [branch.cover(corner, size) for corner in firsts]
            count = covers[0][1]
            windows = [
                branch.cut(volume[index // boxes], first, (count, count, count))
                for index, (first, _) in enumerate(covers)
            ]
            features = branch.convolve(torch.stack(windows))
            starts = torch.tensor([first for first, _ in covers], device=locations.device)
            frame = branch.clamp(branch.frame(locations), volume.shape[2:]).reshape(batch * boxes, -1, 3)
            inside = sample_trilinear(features, frame - starts[:, None])
            sampled.append(inside.reshape(batch, -1, inside.shape[-1]))
        return sampled

    def decode(self, encoding: XEncoding, locations: Tensor, local: list[Tensor]) -> Tensor:
        """Logits (b, n, classes) of locations (b, n, 3) in the grid's frame with their local features."""
        return self.decoder(self.join(encoding, locations, local), encoding.context)

    def join(self, encoding: XEncoding, locations: Tensor, local: list[Tensor]) -> Tensor:
        """The decoder's input: coordinates scaled to [-1, 1] over the grid, local features, levels, context."""
        parts = []
        if self.config.has_coordinates:
            last = locations.new_tensor(encoding.grid_shape) - 1
            parts.append(2 * locations / last.clamp(min=1) - 1)
        parts += [*local, *self.sample_levels(encoding, locations)]
        if self.config.context == "input":
            parts.append(encoding.context[:, None].expand(-1, locations.shape[1], -1))
        return torch.cat(parts, dim=-1)

    def forward(self, volume: Tensor, locations: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (b, n, classes) at locations (b, n, 3), and the auxiliary logits; local features dense.

        Args:
            volume: The normalised grid, (b, channels, i, j, k).
            locations: In the grid's voxel frame.
        """
        encoding = self.encode(volume)
        local = self.sample_local(self.local_features(volume), locations)
        return self.decode(encoding, locations, local), encoding.auxiliary

    def forward_boxes(
        self,
        volume: Tensor,
        corners: Tensor,
        size: int,
        locations: Tensor,
        window: Window | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The same with local features of boxes alone: what a training step on a large grid costs little with.

        Args:
            volume: (b, channels, i, j, k).
            corners: First grid voxel of each box, int (b, m, 3).
            size: Voxels of a box on each axis.
            locations: (b, m, p, 3) in the grid's frame, within [corner, corner + size - 1] of their box.
            window: Part of the grid that the encoder sees, as in ``encode``.

        Returns:
            Logits (b, m p, classes), the boxes one after the other, and the auxiliary logits.
        """
        encoding = self.encode(volume, window)
        local = self.sample_local_boxes(volume, corners, size, locations)
        return self.decode(encoding, locations.flatten(1, 2), local), encoding.auxiliary

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds a location: the decoder, and eight weighted rows of every sampled feature volume."""
        sampled = sum(widths[-1] for widths in self.config.local_channels)
        sampled += sum(self.config.level_channels[: self.config.sampled_levels])
        return self.decoder.multiply_adds + 8 * sampled


def config_for_task(variant: str, task: Task) -> dict[str, Any]:
    """Settings of X for a task, as plain values, by the size of its grid.

    Small grids are encoded from half size on, whole scans from a quarter, very large ones from an eighth; between
    native voxels and the first level local branches of growing scale close the gap.
    """
    foreground = len(task.classes)
    voxels = math.prod(task.grid_shape)
    shape: dict[str, Any] = {}
    if voxels > 2**21:
        shape = {
            "local_scales": (1, 2),
            "local_channels": ((16, 16, 16), (16, 32)),
            "stem_channels": (16, 32),
            "level_channels": (32, 64, 128),
            "down_convolutions": (1, 2, 4),
            "up_convolutions": (1, 1),
        }
    if voxels > 2**25:
        shape |= {"local_scales": (1, 2, 4), "local_channels": ((16, 16, 16), (16, 16), (16, 32))}
        shape |= {"stem_channels": (8, 16, 32)}
    shape["encodes_foreground"] = task.placement == "foreground"
    classes = 1 if foreground == 1 else foreground + 1
    return XConfig(in_channels=len(task.modalities), classes=classes, **shape).to_dict()


def network_from_config(config: dict[str, Any]) -> OSSNetX:
    """The network of a model card's settings, with fresh weights."""
    return OSSNetX(XConfig.from_dict(config))
