"""O-Net and OSS-Net A to D: configuration, the assembled network, and its two halves, encode and decode."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.networks.decoder import Decoder
from napari_ossnet.engine.networks.encoder import PlainEncoder, SkipEncoder
from napari_ossnet.engine.networks.pade import PadeActivation
from napari_ossnet.engine.networks.patch_encoder import PatchEncoder
from napari_ossnet.engine.tensors import LatentVectors, LocationsBatch, LogitsBatch, VolumeBatch

if TYPE_CHECKING:
    from napari_ossnet.engine.tasks import Task

#: What tells the variants apart (paper section 3): local patches, mid-range patches, encoder skips with auxiliary
#: segmentation.
FEATURES: dict[str, tuple[bool, bool, bool]] = {
    "o-net": (False, False, False),
    "a": (True, False, False),
    "b": (True, True, False),
    "c": (True, False, True),
    "d": (True, True, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OSSNetConfig:
    """Everything that shapes an OSS-Net; the defaults are what the published variants share."""

    #: Image channels of the scan.
    in_channels: int
    #: Grid that locations index, in voxels; the encoder sees half of it.
    grid_shape: tuple[int, int, int]
    #: Width of each encoder block; each halves the resolution.
    encoder_channels: tuple[int, ...]
    has_local_patches: bool
    has_mid_range_patches: bool
    #: Encoder output skips, one latent vector a decoder block, and the auxiliary segmentation.
    has_encoder_skips: bool
    #: Logits a location: 1 with a sigmoid, or background and the foreground classes with a softmax.
    classes: int = 1
    decoder_features: int = 512
    decoder_blocks: int = 5
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no network can be built from.

        Raises:
            InputError: The grid can't be halved often enough, mid-range patches come without local ones, or a count is
                not positive.
        """
        object.__setattr__(self, "grid_shape", tuple(self.grid_shape))
        object.__setattr__(self, "encoder_channels", tuple(self.encoder_channels))
        problems = self._problems()
        if problems:
            raise InputError(f"This OSS-Net can't be built: {'; '.join(problems)}.")

    def _problems(self) -> list[str]:
        problems = []
        divisor = 2 ** (len(self.encoder_channels) + 1)
        if len(self.grid_shape) != 3 or any(size <= 0 or size % divisor for size in self.grid_shape):
            problems.append(
                f"with {len(self.encoder_channels)} encoder blocks each axis of the grid must be a multiple of "
                f"{divisor}, but it is {self.grid_shape}"
            )
        if self.has_mid_range_patches and not self.has_local_patches:
            problems.append("mid-range patches need local patches beside them")
        counts = (self.in_channels, self.classes, self.decoder_features, self.decoder_blocks, *self.encoder_channels)
        if min(counts) < 1 or not self.encoder_channels:
            problems.append("channels, classes, widths and blocks must be positive")
        return problems

    @property
    def latent_grid(self) -> tuple[int, int, int]:
        """The grid whose cells a latent vector runs over."""
        i, j, k = (size >> (len(self.encoder_channels) + 1) for size in self.grid_shape)
        return i, j, k

    @property
    def latent_features(self) -> int:
        """Length L of a latent vector."""
        return math.prod(self.latent_grid)

    @property
    def vectors(self) -> int:
        """Latent vectors a volume."""
        return self.decoder_blocks + 1 if self.has_encoder_skips else 1

    @property
    def patch_channels(self) -> int:
        """Channels of the windows, 0 where there are none; those of mid-range windows follow the local ones."""
        return self.in_channels * (int(self.has_local_patches) + int(self.has_mid_range_patches))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a model card."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> OSSNetConfig:
        """The configuration that a model card holds.

        Raises:
            InputError: A key is unknown or missing.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"An OSS-Net has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"The settings of an OSS-Net are not complete: {error}.") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """What the encoder makes of a volume."""

    #: (b, vectors, L).
    latent: Tensor
    #: Logits of the auxiliary segmentation (b, 1, *latent_grid): "something in this cell is foreground"; None where
    #: the variant has none.
    auxiliary: Tensor | None


class OSSNet(nn.Module):
    """An occupancy network for scans: encode a volume once, decode any number of locations."""

    encoder: PlainEncoder | SkipEncoder

    def __init__(self, config: OSSNetConfig) -> None:
        super().__init__()
        self.config = config
        channels, dropout = config.encoder_channels, config.dropout
        if config.has_encoder_skips:
            self.encoder = SkipEncoder(config.in_channels, channels, config.latent_grid, config.vectors, dropout)
        else:
            self.encoder = PlainEncoder(config.in_channels, channels, dropout)
        self.decoder = Decoder(
            patch_channels=config.patch_channels,
            latent_features=config.latent_features,
            features=config.decoder_features,
            blocks=config.decoder_blocks,
            classes=config.classes,
            dropout=dropout,
        )

    def encode(self, encoder_input: VolumeBatch) -> Encoding:
        """Latent vectors and auxiliary segmentation of volumes (b, channels, i/2, j/2, k/2), normalised."""
        latent, auxiliary = self.encoder(encoder_input)
        return Encoding(latent=latent, auxiliary=auxiliary)

    def decode(self, coordinates: LocationsBatch, patches: Tensor | None, latent: LatentVectors) -> LogitsBatch:
        """Logits of locations.

        Args:
            coordinates: (b, n, 3) grid frame, in voxels, float32.
            patches: (b, n, patch channels, 7, 7, 7) around them, or None where the variant has none.
            latent: (b, vectors, L), of ``encode``.
        """
        return self.decoder(coordinates, patches, latent)

    def forward(
        self, encoder_input: VolumeBatch, coordinates: LocationsBatch, patches: Tensor | None
    ) -> tuple[LogitsBatch, Encoding]:
        """Encode and decode in one pass, as training does."""
        encoding = self.encode(encoder_input)
        return self.decode(coordinates, patches, encoding.latent), encoding


def use_published_form(network: nn.Module, *, is_published_form: bool = True) -> None:
    """Switch every part of a network between the fast forms and the published ones, which compute the same."""
    for module in network.modules():
        if isinstance(module, (PadeActivation, PatchEncoder)):
            module.is_published_form = is_published_form


def config_for_task(variant: str, task: Task) -> dict[str, Any]:
    """Settings of a published variant for a task, as plain values.

    The widest encoder block has 128 channels and each before it half of that: 16 to 128 for BraTS (four blocks), 8 to
    128 for LiTS (five), as published.
    """
    depth = int(math.log2(task.grid_shape[0] // 2 // task.latent_grid[0]))
    has_local, has_mid_range, has_skips = FEATURES[variant]
    foreground = len(task.classes)
    return OSSNetConfig(
        in_channels=len(task.modalities),
        grid_shape=task.grid_shape,
        encoder_channels=tuple(128 >> (depth - 1 - block) for block in range(depth)),
        has_local_patches=has_local,
        has_mid_range_patches=has_mid_range,
        has_encoder_skips=has_skips,
        classes=1 if foreground == 1 else foreground + 1,
    ).to_dict()


def network_from_config(config: dict[str, Any]) -> OSSNet:
    """The network of a model card's settings, with fresh weights."""
    return OSSNet(OSSNetConfig.from_dict(config))
