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

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from napari_ossnet.engine.networks.context_encoder import ContextEncoder, run_to_end
from napari_ossnet.engine.networks.local_features import LocalBranch
from napari_ossnet.engine.networks.location_decoder import LocationDecoder
from napari_ossnet.engine.networks.oss_net_x_config import ACTIVATIONS, XConfig
from napari_ossnet.engine.networks.trilinear import feature_frame, sample_trilinear

if TYPE_CHECKING:
    from napari_ossnet.engine.tasks import Task

#: First and past-the-last voxel of a part of the grid.
Window = tuple[tuple[int, int, int], tuple[int, int, int]]


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
        return self._encoding((yield from self.encoder.steps(part)), grid_shape, start)

    def encode_planes(
        self, read: Callable[[int, int], Tensor], shape: tuple[int, int, int, int]
    ) -> Generator[None, None, XEncoding]:
        """The same for a whole volume that is read a few planes at a time.

        Args:
            read: Gives planes (1, channels, planes, j, k) of the normalised grid, from a start up to a stop.
            shape: Channels and voxels of the grid, these multiples of the encoder's ``factor``.
        """
        folded = yield from self.encoder.fold_planes(read, (1, *shape))
        return self._encoding((yield from self.encoder.steps_after_stem(folded)), shape[1:], (0, 0, 0))

    def _encoding(
        self, outputs: list[Tensor], grid_shape: tuple[int, int, int], origin: tuple[int, int, int]
    ) -> XEncoding:
        sampled = self.config.sampled_levels
        return XEncoding(
            levels=tuple(outputs[:sampled]),
            scales=self.encoder.scales[:sampled],
            context=outputs[-1].float().mean(dim=(2, 3, 4)),
            auxiliary=self.auxiliary(outputs[-1]).float(),
            auxiliary_scale=self.encoder.factor,
            grid_shape=grid_shape,
            origin=origin,
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
    native voxels and the first level local branches of growing scale close the gap. One convolution a branch: two more
    were not worth their time, neither on the hippocampus nor on brains (docs/variant_x.md).
    """
    foreground = len(task.classes)
    voxels = math.prod(task.grid_shape)
    shape: dict[str, Any] = {}
    if voxels > 2**21:
        shape = {
            "local_scales": (1, 2),
            "local_channels": ((16,), (32,)),
            "stem_channels": (16, 32),
            "level_channels": (32, 64, 128),
            "down_convolutions": (1, 2, 4),
            "up_convolutions": (1, 1),
        }
    if voxels > 2**25:
        shape |= {"local_scales": (1, 2, 4), "local_channels": ((16,), (16,), (32,))}
        shape |= {"stem_channels": (8, 16, 32)}
    shape["encodes_foreground"] = task.placement == "foreground"
    classes = 1 if foreground == 1 else foreground + 1
    return XConfig(in_channels=len(task.modalities), classes=classes, **shape).to_dict()


def network_from_config(config: dict[str, Any]) -> OSSNetX:
    """The network of a model card's settings, with fresh weights."""
    return OSSNetX(XConfig.from_dict(config))
