"""PFSeg (Wang et al., MICCAI 2021): whole scans without patches, from a half-size image to a full-size segmentation.

An encoder of the half-size image, a second small one of a full-size crop (the guidance) that joins it at the
bottleneck, and two decoders that end at twice the input's resolution: one for the segmentation, one for a
super-resolved image, which trains the other along. Module names are those of the published weights (spec section 8).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_ossnet.engine.errors import InputError

if TYPE_CHECKING:
    from napari_ossnet.engine.tasks import Task

Triple = tuple[int, int, int]

#: The output's extents are multiples of this: the input is half of it and is halved four times.
MULTIPLE = 32
#: Largest output extent where none is published.
LARGEST_EXTENT = 192
#: Channels that the guidance adds to the bottleneck.
GUIDANCE_FEATURES = 64
#: Slope of every leaky ReLU.
SLOPE = 0.01
#: Voxels that the published code cuts off on each in-plane side of a BraTS scan, and its output.
BRATS_MARGIN = 24
BRATS_OUTPUT = (128, 192, 192)

Output = Literal["seg", "sr"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PFSegConfig:
    """Which part of a task's grid PFSeg sees, and how large its output is."""

    #: The one channel of the grid that it segments by.
    channel: int = 0
    #: Logits a voxel: 1 with a sigmoid, or background and the foreground classes with a softmax.
    classes: int = 1
    #: Axes of the grid in the network's order (published: slices first, so (2, 1, 0) for a grid in LPS).
    axes: Triple = (0, 1, 2)
    #: First and past-the-last grid voxel of the box that is stretched over the output, in the grid's axis order.
    box_start: Triple
    box_stop: Triple
    #: Voxels of the output, in the network's axis order; the input has half of them, the guidance a quarter.
    output_shape: Triple = BRATS_OUTPUT
    #: Where the guidance is cropped: at the centre, as published, or where a first pass sees the object; ``none``
    #: leaves the guidance out, as in the published ablation.
    guidance: Literal["centre", "object", "none"] = "centre"

    def __post_init__(self) -> None:
        """Refuse what no network can be built from.

        Raises:
            InputError: An output that can't be halved, an empty box, or axes that are no permutation.
        """
        for name in ("axes", "box_start", "box_stop", "output_shape"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        problems = []
        if len(self.output_shape) != 3 or any(extent <= 0 or extent % MULTIPLE for extent in self.output_shape):
            problems.append(f"the output's extents must be multiples of {MULTIPLE}, not {self.output_shape}")
        elif set(self.output_shape) == {MULTIPLE}:
            problems.append(f"an output of {MULTIPLE}^3 leaves nothing to norm at the bottleneck; double an extent")
        if any(start + 1 >= stop for start, stop in zip(self.box_start, self.box_stop, strict=True)):
            problems.append(f"the box from {self.box_start} to {self.box_stop} is empty")
        if sorted(self.axes) != [0, 1, 2]:
            problems.append(f"axes must be a permutation of 0, 1, 2, not {self.axes}")
        if self.guidance not in ("centre", "object", "none"):
            problems.append(f"guidance must be centre, object or none, not '{self.guidance}'")
        if self.channel < 0 or self.classes < 1:
            problems.append("the channel can't be negative and there is at least one class")
        if problems:
            raise InputError(f"This PFSeg can't be built: {'; '.join(problems)}.")

    @property
    def input_shape(self) -> Triple:
        """Voxels of the half-size image."""
        i, j, k = (extent // 2 for extent in self.output_shape)
        return i, j, k

    @property
    def guidance_shape(self) -> Triple:
        """Voxels of the full-size crop."""
        i, j, k = (extent // 4 for extent in self.output_shape)
        return i, j, k

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a model card."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PFSegConfig:
        """The configuration that a model card holds.

        Raises:
            InputError: A key is unknown or missing.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"PFSeg has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"The settings of PFSeg are not complete: {error}.") from error


class DoubleConvolution(nn.Module):
    """Convolution, norm, activation, convolution, norm; plus the shortcut (convolution, norm); activation."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv3d(channels, out_channels, 3, padding=1),
            nn.InstanceNorm3d(out_channels),
            nn.LeakyReLU(SLOPE),
            nn.Conv3d(out_channels, out_channels, 3, padding=1),
            nn.InstanceNorm3d(out_channels),
        )
        self.residual_upsampler = nn.Sequential(
            nn.Conv3d(channels, out_channels, 1, bias=False), nn.InstanceNorm3d(out_channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, i, j, k) -> (batch, out_channels, i, j, k)."""
        return functional.leaky_relu(self.conv(features) + self.residual_upsampler(features), SLOPE)


class Doubling(nn.Module):
    """A transposed convolution that doubles each extent, and an activation."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.deconv = nn.Sequential(
            nn.ConvTranspose3d(channels, out_channels, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, i, j, k) -> (batch, out_channels, 2 i, 2 j, 2 k)."""
        return self.deconv(features)


@dataclass(frozen=True, slots=True, kw_only=True)
class PFSegEncoding:
    """What both encoders make of images: the skips, finest first, and the bottleneck with the guidance in it."""

    skips: tuple[Tensor, ...]
    bottleneck: Tensor


class PFSeg(nn.Module):
    """Two encoders that meet at the bottleneck, and a decoder each for segmentation and super-resolution."""

    def __init__(self, config: PFSegConfig) -> None:
        super().__init__()
        self.config = config
        widths = (1, 32, 32, 64, 128, 256)
        for level in range(1, 6):
            self.add_module(f"conv{level}", DoubleConvolution(widths[level - 1], widths[level]))
        guidance: list[nn.Module] = []
        for width, following in ((1, 16), (16, 32), (32, 64), (64, GUIDANCE_FEATURES)):
            guidance += [nn.MaxPool3d(2)] if guidance else []
            guidance += [DoubleConvolution(width, following)]
        self.high_freq_extract = nn.Sequential(*guidance)
        for output, channels in (("seg", config.classes), ("sr", 1)):
            self._add_decoder(output, channels, widths[5] + GUIDANCE_FEATURES)

    def _add_decoder(self, output: str, channels: int, width: int) -> None:
        for level, following in zip(range(6, 11), (128, 64, 32, 32, 32), strict=True):
            self.add_module(f"up{level}_{output}", Doubling(width, following))
            # The last doubling goes beyond the input: no skip comes from there.
            joined, width = (following, 16) if level == 10 else (2 * following, following)
            self.add_module(f"conv{level}_{output}", DoubleConvolution(joined, width))
        self.add_module(f"conv11_{output}", nn.Conv3d(width, channels, 1))

    def part(self, name: str) -> nn.Module:
        """A layer by its published name, e.g. ``up10_seg``."""
        return self.get_submodule(name)

    def encode(self, images: Tensor, guidance: Tensor) -> PFSegEncoding:
        """Skips and bottleneck.

        Args:
            images: Half-size, (b, 1, ``input_shape``), from 0 to 1.
            guidance: Full-size crops, (b, 1, ``guidance_shape``), from 0 to 1.
        """
        skips: list[Tensor] = []
        features = images
        for level in range(1, 6):
            features = self.part(f"conv{level}")(functional.max_pool3d(features, 2) if level > 1 else features)
            skips.append(features)
        deepest = skips.pop()
        if self.config.guidance == "none":
            # What the guidance encoder makes of a crop without contrast, but for rounding.
            detail = deepest.new_zeros((len(deepest), GUIDANCE_FEATURES, *deepest.shape[2:]))
        else:
            detail = self.high_freq_extract(guidance)
        return PFSegEncoding(skips=tuple(skips), bottleneck=torch.cat([deepest, detail], dim=1))

    def decode_to_input_size(self, encoding: PFSegEncoding, output: Output) -> Tensor:
        """Features (b, 32, ``input_shape``) of one decoder, before its last doubling."""
        features = encoding.bottleneck
        for level, skip in zip(range(6, 10), reversed(encoding.skips), strict=True):
            raised = self.part(f"up{level}_{output}")(features)
            features = self.part(f"conv{level}_{output}")(torch.cat([raised, skip], dim=1))
        return features

    def decode(self, encoding: PFSegEncoding, output: Output) -> Tensor:
        """Logits of the segmentation (b, classes, ``output_shape``), or the image (b, 1, ``output_shape``)."""
        features = self.decode_to_input_size(encoding, output)
        features = self.part(f"conv10_{output}")(self.part(f"up10_{output}")(features))
        result: Tensor = self.part(f"conv11_{output}")(features)
        return result if output == "seg" else functional.relu(result)

    def forward(self, images: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """Segmentation logits and super-resolved image, as training needs them."""
        encoding = self.encode(images, guidance)
        return self.decode(encoding, "seg"), self.decode(encoding, "sr")


def config_for_task(variant: str, task: Task) -> dict[str, Any]:
    """Settings for a task, as plain values: BraTS as published, any other grid stretched over the nearest output.

    Published for BraTS: the T2 image, 24 voxels off each in-plane side, slices first and resized to 128.
    """
    del variant
    classes = 1 if len(task.classes) == 1 else len(task.classes) + 1
    names = [modality.name for modality in task.modalities]
    channel = names.index("t2") if "t2" in names else 0
    stop = [start + extent for start, extent in zip(task.box_start, task.box_shape, strict=True)]
    if task.axes == "LPS" and task.box_shape == (240, 240, 155):
        i, j, k = task.box_start
        return PFSegConfig(
            channel=channel,
            classes=classes,
            axes=(2, 1, 0),
            box_start=(i + BRATS_MARGIN, j + BRATS_MARGIN, k),
            box_stop=(stop[0] - BRATS_MARGIN, stop[1] - BRATS_MARGIN, stop[2]),
        ).to_dict()
    i, j, k = (min(LARGEST_EXTENT, -(-extent // MULTIPLE) * MULTIPLE) for extent in task.box_shape)
    if max(i, j, k) == MULTIPLE:
        i, j, k = 2 * MULTIPLE, 2 * MULTIPLE, 2 * MULTIPLE
    return PFSegConfig(
        channel=channel,
        classes=classes,
        box_start=task.box_start,
        box_stop=(stop[0], stop[1], stop[2]),
        output_shape=(i, j, k),
    ).to_dict()


def network_from_config(config: dict[str, Any]) -> PFSeg:
    """The network of a model card's settings, with fresh weights."""
    return PFSeg(PFSegConfig.from_dict(config))
