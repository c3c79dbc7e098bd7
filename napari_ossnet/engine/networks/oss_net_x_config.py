"""The settings of OSS-Net X, as a model card keeps them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.networks.pade import PadeActivation

ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "leaky-relu": nn.LeakyReLU, "pade": PadeActivation}

#: The least that each number of a setting may be.
_LEAST = {
    0: ("down_convolutions", "up_convolutions", "sampled_levels", "decoder_blocks"),
    1: (
        "in_channels", "classes", "local_scales", "local_channels", "local_mixed_channels", "stem_channels",
        "level_channels", "groups", "decoder_width",
    ),
}  # fmt: skip


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
    local_channels: tuple[tuple[int, ...], ...] = ((16,),)
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
        try:
            for name in ("local_scales", "stem_channels", "level_channels", "down_convolutions", "up_convolutions"):
                object.__setattr__(self, name, tuple(getattr(self, name)))
            object.__setattr__(self, "local_channels", tuple(tuple(widths) for widths in self.local_channels))
        except TypeError as error:
            raise InputError(
                f"This OSS-Net X can't be built: a list is missing among its settings ({error})."
            ) from error
        problems = self._count_problems() or [*self._list_problems(), *self._value_problems()]
        if problems:
            raise InputError(f"This OSS-Net X can't be built: {'; '.join(problems)}.")

    def _count_problems(self) -> list[str]:
        """Numbers that are none, or too small."""
        problems = []
        for least, names in _LEAST.items():
            for name in names:
                counts = list(_flattened(getattr(self, name)))
                if any(not isinstance(count, int) or count < least for count in counts):
                    problems.append(f"{name} must be whole numbers from {least} on, not {getattr(self, name)}")
        return problems

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


def _flattened(value: Any) -> Iterator[Any]:
    """The numbers of a setting: one, a list of them, or lists."""
    if isinstance(value, tuple):
        for item in value:
            yield from _flattened(item)
    else:
        yield value
