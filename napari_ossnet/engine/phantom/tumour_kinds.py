"""What kinds of tumour there are, and the random plan of one: sizes, shares, how it spreads, how it looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_ossnet.engine.phantom.tissues import Tissue

KINDS = {"necrotic": 0.40, "solid": 0.12, "low_grade": 0.26, "diffuse": 0.14, "cavity": 0.04, "cystic": 0.04}
"""Kinds and how often they are drawn: necrotic and solid ones enhance, the others don't or faintly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TumourRanges:
    """Ranges from which tumours are drawn.

    Attributes:
        small_share: Share of tumours drawn from the small range.
        small_ml: Range of whole-tumour volumes of small ones (uniform in the logarithm).
        large_ml: The same for the others.
        push_share: Most that a core pushes its surroundings, as a share of its radius.
        several: Probability of a second tumour.
    """

    small_share: float = 0.4
    small_ml: tuple[float, float] = (3.0, 30.0)
    large_ml: tuple[float, float] = (25.0, 170.0)
    push_share: float = 0.5
    several: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class TumourPlan:
    """One tumour to be grown; lengths in mm, volumes in mL.

    Attributes:
        kind: One of `KINDS`.
        whole_ml: Volume of core and oedema.
        core_ml: Volume of the core.
        push_mm: Largest displacement of the surroundings.
        elongation: Largest logarithm of an axis ratio of the core.
        roughness: Amplitude of the core's irregularity as a share of its radius.
        cortex_affinity: Weight of cortex, against 1 for white matter, where the core is put.
        costs: What a mm costs water that spreads through each tissue.
        finger: Amplitude of the logarithm of random variation of these costs.
        along: Share of that way, against the straight distance, in the oedema's shape.
        smoothing_mm: Blur of the oedema's shape.
        fluid_limit: A voxel with more fluid than this share about it is no tumour (outside the core).
        softness_mm: Width of the oedema's border.
        core_softness_mm: Width of the core's border.
        floor: Strength of the oedema at its border against that at the core.
        unevenness: Random variation of the strength.
        response: How much of the oedema's change of contrast each tissue shows.
        rim_mm: Thickness of living tissue around the necrosis.
        is_necrotic: Whether the core has a necrosis (or a cyst, or a cavity).
        enhancement_level: Level of a random field (standard deviation 1) above which the core enhances.
    """

    kind: str
    whole_ml: float
    core_ml: float
    push_mm: float
    elongation: float
    roughness: float
    cortex_affinity: float
    costs: dict[Tissue, float]
    finger: float
    along: float
    smoothing_mm: float
    fluid_limit: float
    softness_mm: float
    core_softness_mm: float
    floor: float
    unevenness: float
    response: dict[Tissue, float]
    rim_mm: float
    is_necrotic: bool
    enhancement_level: float


def draw_plan(rng: np.random.Generator, ranges: TumourRanges) -> TumourPlan:
    """A random plan."""
    kind = str(rng.choice(list(KINDS), p=np.array(list(KINDS.values())) / sum(KINDS.values())))
    low, high = ranges.small_ml if rng.random() < ranges.small_share else ranges.large_ml
    whole_ml = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    share = _core_share(rng, kind)
    core_ml = max(whole_ml * share, 0.4)
    radius = (core_ml * 1e3 * 3 / (4 * np.pi)) ** (1 / 3)
    return TumourPlan(
        kind=kind,
        whole_ml=whole_ml,
        core_ml=core_ml,
        push_mm=float(rng.uniform(0, ranges.push_share) * radius),
        elongation=float(rng.uniform(0.05, 0.5)),
        roughness=float(rng.uniform(0.15, 0.75)),
        cortex_affinity=float(rng.uniform(0.1, 0.6)) if kind in ("low_grade", "diffuse") else 0.15,
        costs=_costs(rng, kind),
        finger=float(rng.uniform(0.1, 0.6)),
        along=float(rng.uniform(0.5, 1.0)),
        smoothing_mm=float(rng.uniform(0.6, 2.0)),
        fluid_limit=float(rng.choice([0.4, 0.6, 0.9], p=[0.5, 0.3, 0.2])),
        softness_mm=float(np.exp(rng.uniform(np.log(0.8), np.log(7.0)))),
        core_softness_mm=float(np.exp(rng.uniform(np.log(0.6), np.log(4.0)))),
        floor=float(rng.uniform(0.45, 1.0)),
        unevenness=float(rng.uniform(0.0, 0.25)),
        response=_response(rng, kind),
        rim_mm=float(rng.uniform(1.0, 3.0)) if kind in ("cavity", "cystic") else float(np.exp(rng.uniform(0.3, 2.0))),
        is_necrotic=kind in ("necrotic", "cavity", "cystic") or (kind == "solid" and rng.random() < 0.3),
        enhancement_level=_enhancement_level(rng, kind),
    )


def _core_share(rng: np.random.Generator, kind: str) -> float:
    low, high = {
        "necrotic": (0.12, 0.75),
        "solid": (0.1, 0.7),
        "low_grade": (0.45, 1.0),
        "diffuse": (0.03, 0.3),
        "cavity": (0.1, 0.5),
        "cystic": (0.2, 0.7),
    }[kind]
    return float(rng.uniform(low, high))


def _costs(rng: np.random.Generator, kind: str) -> dict[Tissue, float]:
    infiltrates = kind in ("low_grade", "diffuse")
    cortex = float(
        np.exp(rng.uniform(np.log(1.0), np.log(4.0)) if infiltrates else rng.uniform(np.log(2.0), np.log(9.0)))
    )
    deep = float(np.exp(rng.uniform(np.log(1.0), np.log(5.0))))
    fluid = float(np.exp(rng.uniform(np.log(4.0), np.log(40.0))))
    return {
        Tissue.WHITE: 1.0,
        Tissue.CORTEX: cortex,
        Tissue.LIMBIC: min(cortex, 3.0),
        Tissue.STRIATUM: deep,
        Tissue.THALAMUS: deep,
        Tissue.PALLIDUM: deep,
        Tissue.BRAIN_STEM: 1.5,
        Tissue.CEREBELLUM_WHITE: 1.0,
        Tissue.CEREBELLUM_CORTEX: cortex,
        Tissue.CSF: fluid,
        Tissue.VENTRICLE: 60.0,
        Tissue.CHOROID: 60.0,
        Tissue.VESSEL: fluid,
    }


def _response(rng: np.random.Generator, kind: str) -> dict[Tissue, float]:
    infiltrates = kind in ("low_grade", "diffuse")
    cortex = float(rng.uniform(0.6, 1.0) if infiltrates else rng.uniform(0.35, 0.9))
    deep = float(rng.uniform(0.5, 1.0))
    values = dict.fromkeys((t for t in Tissue if 0 < t < Tissue.SOFT_TISSUE), 1.0)
    values |= {Tissue.CORTEX: cortex, Tissue.LIMBIC: max(cortex, 0.7), Tissue.CEREBELLUM_CORTEX: cortex}
    values |= dict.fromkeys((Tissue.STRIATUM, Tissue.THALAMUS, Tissue.PALLIDUM), deep)
    values |= {Tissue.CSF: 0.05, Tissue.VENTRICLE: 0.0, Tissue.CHOROID: 0.0, Tissue.VESSEL: 0.1}
    return values


def _enhancement_level(rng: np.random.Generator, kind: str) -> float:
    if kind in ("necrotic", "solid"):
        return float(rng.uniform(-2.5, -0.2))
    if kind in ("low_grade", "diffuse"):
        return float(rng.uniform(0.8, 2.0)) if rng.random() < 0.3 else 9.0
    return float(rng.uniform(-1.0, 1.5))
