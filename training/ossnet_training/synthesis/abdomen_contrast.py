"""What a CT of an abdomen looks like: Hounsfield units of the organs by phase of contrast, texture, blur and noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_ossnet.engine.phantom.random_fields import FloatArray, blurred, smooth_noise
from ossnet_training.synthesis.abdomen_anatomy import make_abdomen
from ossnet_training.synthesis.abdomen_canvas import LIVER_PARTS, Abdomen, Organ
from ossnet_training.synthesis.pairs import Pair

Range = tuple[float, float]

#: Hounsfield units that no contrast agent changes.
_PLAIN: dict[Organ, Range] = {
    Organ.AIR: (-1024, -990),
    Organ.SKIN: (-30, 40),
    Organ.FAT: (-118, -82),
    Organ.BONE: (300, 900),
    Organ.MARROW: (90, 280),
    Organ.DISC: (50, 110),
    Organ.LUNG: (-900, -650),
    Organ.GALLBLADDER: (-5, 25),
    Organ.STOOL: (-150, 80),
    Organ.GAS: (-1020, -850),
    Organ.BLADDER: (-5, 20),
    Organ.COUCH: (-850, 150),
}

#: Without contrast, arterial, portal venous; ranges about the usual ones, wide on purpose.
_PHASES: tuple[dict[Organ, Range], ...] = (
    {
        Organ.MUSCLE: (38, 66),
        Organ.HEART: (32, 50),
        Organ.VEIN: (32, 50),
        Organ.ARTERY: (32, 52),
        Organ.LIVER: (36, 72),
        Organ.SPLEEN: (38, 60),
        Organ.KIDNEY: (24, 44),
        Organ.PANCREAS: (24, 50),
        Organ.GUT_WALL: (22, 52),
    },
    {
        Organ.MUSCLE: (45, 75),
        Organ.HEART: (180, 380),
        Organ.VEIN: (45, 130),
        Organ.ARTERY: (220, 420),
        Organ.LIVER: (52, 95),
        Organ.SPLEEN: (85, 170),
        Organ.KIDNEY: (110, 220),
        Organ.PANCREAS: (70, 130),
        Organ.GUT_WALL: (45, 120),
    },
    {
        Organ.MUSCLE: (48, 80),
        Organ.HEART: (110, 190),
        Organ.VEIN: (115, 200),
        Organ.ARTERY: (110, 200),
        Organ.LIVER: (78, 145),
        Organ.SPLEEN: (95, 155),
        Organ.KIDNEY: (130, 240),
        Organ.PANCREAS: (65, 120),
        Organ.GUT_WALL: (45, 105),
    },
)


def make_abdomen_pair(seed: int, number: int) -> Pair:
    """The abdomen of a number, scanned; equal numbers give equal scans."""
    rng = np.random.default_rng([seed, number])
    abdomen = make_abdomen(rng)
    image, label = scan_abdomen(rng, abdomen)
    # The model's axes are LPS, an affine's world is RAS.
    i, j, k = abdomen.spacing_mm
    return Pair(image=image, label=label, affine=np.diag([-i, -j, k, 1.0]))


def scan_abdomen(rng: np.random.Generator, abdomen: Abdomen) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """A CT of an abdomen in Hounsfield units, and its label: liver with all that lies in it is 1."""
    means = _draw_means(rng)
    image = means[abdomen.organs]
    shape = image.shape
    texture = rng.uniform(2, 9) * smooth_noise(rng, shape, 3.0) + rng.uniform(2, 9) * smooth_noise(rng, shape, 9.0)
    image += texture * (image > -200)
    in_lumen = np.isin(abdomen.organs, (Organ.STOOL,))
    image[in_lumen] += (rng.uniform(30, 250) * smooth_noise(rng, shape, 2.0))[in_lumen]
    image = blurred(image, rng.uniform(0.35, 0.8))
    image += _noise(rng, shape)
    # Uneven dose and beam hardening: a few units over the body.
    image += rng.uniform(0, 5) * smooth_noise(rng, shape, 40.0)
    label = np.isin(abdomen.organs, LIVER_PARTS).astype(np.uint8)
    return np.clip(np.rint(image), -1024, 3071).astype(np.int16), label


def _draw_means(rng: np.random.Generator) -> FloatArray:
    phase = _PHASES[int(rng.choice(3, p=[0.4, 0.2, 0.4]))]
    means = np.zeros(len(Organ), dtype=np.float32)
    for organ, limits in (_PLAIN | phase).items():
        means[organ] = rng.uniform(*limits)
    if rng.random() < 0.1:
        # A fatty liver is darker than the vessels in it.
        means[Organ.LIVER] -= rng.uniform(15, 50)
    liver, blood = means[Organ.LIVER], means[Organ.VEIN]
    means[Organ.LIVER_VEIN] = liver + (blood - liver) * rng.uniform(0.3, 1.0)
    means[Organ.LESION] = liver - rng.uniform(10, 70) if rng.random() < 0.85 else liver + rng.uniform(10, 60)
    means[Organ.GUT_FLUID] = rng.uniform(100, 450) if rng.random() < 0.25 else rng.uniform(0, 45)
    return means


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Noise of 4 to 40 units, in the grain that reconstruction and resampling give it."""
    white = blurred(rng.standard_normal(shape, dtype=np.float32), rng.uniform(0.0, 0.9))
    return white * np.float32(np.exp(rng.uniform(np.log(4), np.log(40))) / white.std())
