"""Contrasts: what each tissue and each part of a tumour looks like in FLAIR, T1, T1ce and T2.

All intensities are relative to white matter, which is about 1 in every modality. The middles of the ranges follow the
usual appearance of these sequences at 1.5 and 3 T; the ranges are wide on purpose (domain randomisation, Billot et
al., Med Image Anal 86:102789, 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ossnet.engine.phantom.random_fields import FloatArray, layered_noise, smooth_noise
from napari_ossnet.engine.phantom.tissues import FLUIDS, TISSUE_COUNT, Tissue, member_table
from napari_ossnet.engine.phantom.tumour import Lesion

_IS_FLUID = member_table(*FLUIDS)
_IS_CORTEX = member_table(Tissue.CORTEX)
_IS_GREY = member_table(Tissue.CORTEX, Tissue.LIMBIC)
MODALITIES = ("flair", "t1", "t1ce", "t2")
Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TissueRanges:
    """Ranges of the means of the main tissues in one modality, white matter = 1."""

    cortex: Range
    deep: Range
    fluid: Range
    extra: Range
    """Skull, skin and fat that a brain mask left over."""


RANGES: dict[str, TissueRanges] = {
    "flair": TissueRanges(cortex=(0.97, 1.38), deep=(0.95, 1.3), fluid=(0.05, 0.5), extra=(0.1, 1.6)),
    "t1": TissueRanges(cortex=(0.58, 0.92), deep=(0.72, 0.98), fluid=(0.1, 0.5), extra=(0.1, 1.8)),
    "t1ce": TissueRanges(cortex=(0.6, 0.98), deep=(0.72, 1.0), fluid=(0.1, 0.5), extra=(0.1, 2.2)),
    "t2": TissueRanges(cortex=(1.1, 1.8), deep=(0.95, 1.4), fluid=(1.7, 4.5), extra=(0.1, 1.8)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Look of one part of a tumour: its mean relative to white matter in each modality."""

    flair: float
    t1: float
    t1ce: float
    t2: float

    def of(self, modality: str) -> float:
        """The mean in a modality."""
        return float(getattr(self, modality))


@dataclass(frozen=True, slots=True, kw_only=True)
class TumourLook:
    """Look of all parts of one tumour."""

    oedema: Part
    core: Part
    necrosis: Part
    enhancing: Part


def draw_look(rng: np.random.Generator, kind: str) -> TumourLook:
    """A random look for a kind of tumour (see ``tumour_kinds``): right signs, wide ranges."""
    subtle = rng.random() < 0.15
    gain = rng.uniform(1.28, 1.5) if subtle else rng.uniform(1.45, 2.5)
    wet = (gain - 1) / 0.8
    t1 = 1 - min(rng.uniform(0.1, 0.35) * (0.5 + wet), 0.5)
    oedema = Part(flair=gain, t1=t1, t1ce=t1 * rng.uniform(0.97, 1.04), t2=1 + (gain - 1) * rng.uniform(0.8, 2.0))
    flair = _core_flair(rng, kind, gain)
    t1 = rng.uniform(0.5, 0.9)
    core = Part(flair=flair, t1=t1, t1ce=t1 * rng.uniform(0.97, 1.15), t2=rng.uniform(1.2, 2.6))
    t1 = rng.uniform(0.3, 0.75)
    bled = rng.random() < 0.08
    necrosis = Part(
        flair=rng.uniform(0.15, 0.6) if kind in ("cavity", "cystic") else gain * rng.uniform(0.5, 1.15),
        t1=rng.uniform(1.0, 1.5) if bled else t1,
        t1ce=(1.3 if bled else t1) * rng.uniform(1.0, 1.25),
        t2=rng.uniform(2.0, 4.0) if kind in ("cavity", "cystic") else rng.uniform(1.4, 3.2),
    )
    t1 = rng.uniform(0.7, 1.05) if rng.random() < 0.85 else rng.uniform(1.05, 1.4)
    enhancing = Part(
        flair=gain * rng.uniform(0.75, 1.1),
        t1=t1,
        t1ce=max(t1, 0.8) * rng.uniform(1.35, 2.8),
        t2=rng.uniform(1.05, 2.0),
    )
    return TumourLook(oedema=oedema, core=core, necrosis=necrosis, enhancing=enhancing)


def _core_flair(rng: np.random.Generator, kind: str, gain: float) -> float:
    if kind in ("low_grade", "diffuse"):
        # A bright core, or (T2-FLAIR mismatch) one that is dim with a brighter rim.
        return float(rng.uniform(0.75, 1.1)) if rng.random() < 0.15 else gain * float(rng.uniform(0.9, 1.15))
    return gain * float(rng.uniform(0.75, 1.1))


def paint(rng: np.random.Generator, tissues: NDArray[np.uint8], flow: FloatArray, depth: FloatArray) -> FloatArray:
    """Healthy tissue in the four modalities: (4, i, j, k), white matter about 1.

    Args:
        rng: Source of randomness.
        tissues: The posed head, 1 mm.
        flow: 0 to 1, where moving fluid is not dark in FLAIR.
        depth: Distance from the surface of the brain in mm.
    """
    shared = layered_noise(rng, tissues.shape, {16.0: 0.6, 7.0: 0.6, 3.0: 0.5})
    fluid = _IS_FLUID[tissues]
    channels = []
    for modality in MODALITIES:
        image = draw_means(rng, modality)[tissues]
        common, own = rng.uniform(-0.045, 0.045), rng.uniform(0.01, 0.05)
        image *= 1 + common * shared + own * smooth_noise(rng, tissues.shape, 24.0)
        if modality == "flair":
            image[fluid] += flow[fluid] * np.float32(rng.uniform(0.3, 1.1))
            image *= _cortex_gain(rng, tissues, depth)
        channels.append(image)
    return np.stack(channels)


def draw_means(rng: np.random.Generator, modality: str) -> FloatArray:
    """A lookup table of random tissue means in a modality."""
    ranges = RANGES[modality]
    table = np.ones(TISSUE_COUNT, dtype=np.float32)
    cortex, deep, fluid = (rng.uniform(*r) for r in (ranges.cortex, ranges.deep, ranges.fluid))

    def about(value: float, spread: float = 0.04) -> float:
        return float(value * np.exp(rng.normal(0, spread)))

    table[Tissue.OUTSIDE] = rng.uniform(0.0, 0.15)
    table[Tissue.CSF] = about(fluid, 0.15)
    table[Tissue.VENTRICLE] = fluid
    table[Tissue.CORTEX] = cortex
    table[Tissue.STRIATUM] = about(deep)
    table[Tissue.THALAMUS] = about((deep + 1) / 2)
    table[Tissue.PALLIDUM] = about(1 - rng.uniform(0, 0.35) if modality in ("flair", "t2") else 1.0)
    table[Tissue.BRAIN_STEM] = about(1.0 if modality in ("flair", "t2") else 0.95, 0.06)
    table[Tissue.CEREBELLUM_WHITE] = about(1.0, 0.05)
    table[Tissue.CEREBELLUM_CORTEX] = about(cortex, 0.06)
    table[Tissue.LIMBIC] = about(cortex, 0.05) * _limbic_gain(rng, modality)
    table[Tissue.CHOROID] = rng.uniform(1.2, 2.4) if modality == "t1ce" else about(cortex, 0.15)
    table[Tissue.VESSEL] = _vessel(rng, modality)
    for tissue in (Tissue.SOFT_TISSUE, Tissue.BONE, Tissue.FAT, Tissue.EYE):
        table[tissue] = rng.uniform(*ranges.extra)
    return table


def add_lesion(rng: np.random.Generator, image: FloatArray, lesion: Lesion, kind: str) -> None:
    """Change the four channels (in place) where there is tumour."""
    look = draw_look(rng, kind)
    for channel, modality in enumerate(MODALITIES):
        target = image[channel][lesion.window]
        target += lesion.water * (np.float32(look.oedema.of(modality)) - target)
        solid = lesion.necrosis + lesion.enhancement
        other = np.clip(1 - solid, 0, 1)
        inside = (
            look.necrosis.of(modality) * lesion.necrosis
            + look.enhancing.of(modality) * lesion.enhancement
            + look.core.of(modality) * other
        ) / np.maximum(other + solid, 1e-6)
        speckle = layered_noise(rng, target.shape, {8.0: 0.05, 3.5: 0.04})
        target += lesion.core * (inside * (1 + speckle) - target)


def _vessel(rng: np.random.Generator, modality: str) -> float:
    if modality == "t1ce":
        return float(rng.uniform(1.2, 3.2))
    return float(rng.uniform(0.2, 1.1))


def _limbic_gain(rng: np.random.Generator, modality: str) -> float:
    """Hippocampus and amygdala are brighter than other cortex in FLAIR, less so in T2."""
    return float(rng.uniform(1.0, {"flair": 1.4, "t2": 1.15}.get(modality, 1.0)))


def _cortex_gain(rng: np.random.Generator, tissues: NDArray[np.uint8], depth: FloatArray) -> FloatArray:
    """Insula, cingulum and other cortex far from the brain's surface is brighter in FLAIR; so are random patches."""
    patches = np.maximum(smooth_noise(rng, tissues.shape, 28.0) - 0.4, 0) * rng.uniform(0, 0.16)
    deep = np.clip((depth - rng.uniform(6, 12)) / rng.uniform(5, 12), 0, 1) * rng.uniform(0, 0.35)
    deep *= _IS_CORTEX[tissues]
    return 1 + patches * _IS_GREY[tissues] + deep
