"""An abdomen made by code alone: solids between a body wall, a spine and two domes of diaphragm.

No anatomy in the strict sense, but what a network has to know to find a liver is there: it lies under the right dome
at the wall, the stomach, the colon, the right kidney and the gallbladder touch it, muscle and spleen are as bright, and
scans begin and end anywhere. For coordinates see ``abdomen_canvas.py``.
"""

from __future__ import annotations

import numpy as np

from napari_ossnet.engine.phantom.random_fields import FloatArray
from napari_ossnet.engine.phantom.solids import Point, ellipsoid, tube, union
from ossnet_training.synthesis.abdomen_canvas import SHAPE, Abdomen, Canvas, Organ, draw_build, draw_warp, field_of_view

_SIDES = (-1.0, 1.0)


def make_abdomen(rng: np.random.Generator) -> Abdomen:
    """A random abdomen in a random field of view, with at least a part of the liver in it."""
    build = draw_build(rng)
    axes, spacing_mm = field_of_view(rng, build)
    straight = list(np.meshgrid(*axes, indexing="ij", sparse=True))
    where = [w + draw_warp(rng, s) for w, s in zip(straight, spacing_mm, strict=True)]
    scan = _Body(rng, where, spacing_mm, build)
    scan.add_wall()
    scan.add_bones()
    scan.add_gut()
    scan.add_spleen_and_kidneys()
    scan.add_vessels()
    scan.add_liver()
    scan.add_chest()
    scan.add_couch(straight)
    return Abdomen(organs=scan.organs, spacing_mm=spacing_mm)


class _Body(Canvas):
    """A canvas that knows the organs, in the order in which they cover each other."""

    def add_wall(self) -> None:
        """Skin, fat and muscle around the cavity, fat inside."""
        rng, build = self.rng, self.build
        _, y, z = self.where
        pelvis = np.clip((-z - 110) / 80, 0, 1)
        wall = build.wall * (1 + 0.25 * self.noise(40.0)) + pelvis * (25 + 20 * np.clip(y / 60, -0.5, 1))
        muscle = np.minimum(self.cavity - wall, self._back_muscles())
        belly = np.clip(-y / build.half_depth, 0, 1) * rng.uniform(-0.3, 0.8)
        fat = build.fat * np.clip(1 + belly + 0.25 * self.noise(50.0), 0.25, 3)
        outer = muscle - fat
        self.put(outer < 2.5, Organ.SKIN)
        self.put(outer < 0, Organ.FAT)
        self.put(muscle < 0, Organ.MUSCLE)
        # Sheets of fat between the layers of muscle.
        self.put((muscle < -2) & (np.abs(self.noise(9.0)) < 0.1), Organ.FAT)
        self.put(self.cavity < 0, Organ.FAT)
        self.put((self.cavity < 0) & (self.noise(6.0) > 2.1), Organ.MUSCLE)

    def _back_muscles(self) -> FloatArray:
        x, y, _ = self.where
        behind = self.build.half_depth + 14
        return (np.sqrt(((np.abs(x) - 36) / 34) ** 2 + ((y - behind) / 26) ** 2) - 1).astype(np.float32) * 29

    def add_bones(self) -> None:
        """Spine, ribs, pelvis, with the muscles that lie on them."""
        rng, build = self.rng, self.build
        x, y, z = self.where
        front = build.half_depth - 22
        for side in _SIDES:
            psoas = tube(
                self.where,
                [(side * 26, front + 18, 20), (side * 42, front + 12, -90), (side * 62, front - 30, -240)],
                [7, rng.uniform(16, 26), 16],
            )
            self.put(psoas < 0, Organ.MUSCLE)
        width = rng.uniform(20, 26)
        vertebra = (np.sqrt((x / width) ** 2 + ((y - front - 16) / (0.75 * width)) ** 2) - 1) * width * 0.85
        period, thickness = rng.uniform(30, 37), rng.uniform(5, 10)
        level = np.mod(z + rng.uniform(0, period), period)
        self.put(vertebra < 0, Organ.BONE)
        self.put((vertebra < -2.5) & (level > 2.5) & (level < period - thickness - 2.5), Organ.MARROW)
        self.put((vertebra < 0) & (level > period - thickness), Organ.DISC)
        canal = front + 16 + 0.75 * width + 9
        arch = np.maximum(np.sqrt(x**2 + (y - canal) ** 2) - 15, 9 - np.sqrt(x**2 + (y - canal) ** 2))
        process = np.maximum(np.abs(x) - 3.5, np.abs(y - canal - 26) - 16)
        wing = np.maximum(np.abs(y - canal + 2) - 5, np.abs(x) - 45)
        low = (level > 5) & (level < 0.55 * period)
        self.put((arch < 0) & (self.noise(7.0) > -0.8), Organ.BONE)
        self.put((np.minimum(process, wing) < 0) & low, Organ.BONE)
        self.put(np.sqrt(x**2 + (y - canal) ** 2) < 8, Organ.DISC)
        # Ribs run down from the back to the front inside the wall.
        turn = np.mod(z + 0.75 * (build.half_depth - y) + rng.uniform(0, 27) + 4 * self.noise(50.0), 27)
        depth = np.abs(self.cavity - 0.45 * build.wall)
        margin = z - (build.dome - build.recess - 60) + 0.5 * np.minimum(y, 0)
        rib = (depth < 4.5) & (np.abs(turn - 13.5) < 6) & (margin > 0) & (np.abs(x) > 25)
        self.put(rib, Organ.BONE)
        self.put(rib & (depth < 2.2) & (np.abs(turn - 13.5) < 3.5), Organ.MARROW)
        self._add_pelvis()

    def _add_pelvis(self) -> None:
        x, y, z = self.where
        shell = ellipsoid(self.where, (0, 5, -110), (self.build.half_width, 88, 120))
        thick = 4.5 + 4 * np.clip((-z - 150) / 60, 0, 1.5) + 1.5 * self.noise(25.0)
        sheet = np.abs(shell) - thick
        iliac = (sheet < 0) & (z < -95 + 10 * self.noise(40.0)) & (y > -35) & (np.abs(x) > 30)
        sacrum = ellipsoid(self.where, (0, self.build.half_depth, -190), (48, 22, 65))
        heads = np.minimum(*[ellipsoid(self.where, (s * 92, 0, -270), (25, 25, 25)) for s in _SIDES])
        bone = iliac | (sacrum < 0) | (heads < 0)
        self.put(bone, Organ.BONE)
        self.put(bone & ((sheet < -2.5) | (sacrum < -3) | (heads < -3)), Organ.MARROW)

    def add_gut(self) -> None:
        """Small bowel, colon and stomach with what is in them, pancreas, duodenum, bladder."""
        rng = self.rng
        y = self.where[1]
        room = (self.cavity < -4) & (self.organs == Organ.FAT)
        loops = self.noise(rng.uniform(11, 16))
        middle = ellipsoid(self.where, (0, -20, -110), (105, 62, 110))
        fullness = rng.uniform(-0.3, 0.7)
        bowel = room & (middle < 0) & (loops > fullness)
        self.put(bowel, Organ.GUT_WALL)
        content = self.noise(30.0)
        inner = bowel & (loops > fullness + 0.25)
        self.put(inner & (content > -0.2), Organ.GUT_FLUID)
        self.put(inner & (content > 1.7) & (y < 0), Organ.GAS)
        top = self.build.dome
        bends = [
            *((-92, 10, -190), (-96, 5, top - 175), (-88, -25, top - 150), (-40, -62, top - 175)),
            *((40, -64, top - 165), (92, -5, top - 95), (104, 30, top - 130), (100, 25, -180), (40, 0, -250)),
        ]
        radius = rng.uniform(15, 27)
        colon = tube(self.where, [self.jitter(p, 9.0) for p in bends], radius * rng.uniform(0.6, 1.25, len(bends)))
        colon += 2.5 * self.noise(14.0)
        self._fill(colon, Organ.STOOL if rng.random() < 0.7 else Organ.GUT_FLUID, gas=rng.uniform(-0.8, 1.2))
        duodenum = [(-25, -15, top - 128), (-46, 5, top - 138), (-42, 18, top - 180), (10, 22, top - 185)]
        self._fill(tube(self.where, [self.jitter(p) for p in duodenum], [12, 12, 12, 11]), Organ.GUT_FLUID, gas=2.2)
        pancreas = [(-34, 5, top - 145), (0, 0, top - 130), (70, 25, top - 100)]
        body = tube(self.where, [self.jitter(p) for p in pancreas], [13, 9, 9]) + 2 * self.noise(8.0)
        self.put((body < 0) & (self.cavity < 0), Organ.PANCREAS)
        self._add_stomach(top)
        bladder = ellipsoid(self.where, (0, -25, -265), tuple(rng.uniform(30, 60, 3)))
        self.put((bladder < 0) & (self.cavity < 0), Organ.BLADDER)

    def _add_stomach(self, top: float) -> None:
        size = self.rng.uniform(0.7, 1.35)
        course = [(70, 25, top - 50), (62, -20, top - 95), (15, -48, top - 130), (-15, -30, top - 122)]
        stomach = tube(self.where, [self.jitter(p) for p in course], np.multiply(size, [36, 30, 20, 13]))
        stomach += 3 * self.noise(22.0)
        self._fill(stomach, Organ.GUT_FLUID, gas=self.rng.uniform(0.0, 2.5))

    def _fill(self, hollow: FloatArray, content: Organ, *, gas: float) -> None:
        """A hollow organ: wall, content, and gas where noise and height say so."""
        inside = (hollow < 0) & (self.cavity < -2) & ~np.isin(self.organs, (Organ.BONE, Organ.MARROW, Organ.DISC))
        self.put(inside, Organ.GUT_WALL)
        lumen = inside & (hollow < -self.rng.uniform(1.8, 4))
        self.put(lumen, content)
        rising = -self.where[1] / 45 + self.noise(16.0)
        self.put(lumen & (rising > gas), Organ.GAS)

    def add_spleen_and_kidneys(self) -> None:
        """Spleen and kidneys, with cysts at times."""
        rng, top = self.rng, self.build.dome
        size = rng.uniform(0.75, 1.4)
        spleen = ellipsoid(self.where, self.jitter((96, 42, top - 80)), (33 * size, 52 * size, 55 * size))
        hilum = ellipsoid(self.where, self.jitter((58, 5, top - 85)), (36, 45, 60))
        spleen = np.maximum(spleen + 2 * self.noise(18.0), -hilum)
        self.put((spleen < 0) & (self.cavity < -1) & (self.where[2] < self.dome - 4), Organ.SPLEEN)
        for side, low in ((-1.0, rng.uniform(140, 190)), (1.0, rng.uniform(130, 175))):
            ends = [
                self.jitter((side * 50, 46, top - low + 36)),
                self.jitter((side * 62, 44, top - low)),
                self.jitter((side * 68, 38, top - low - 36)),
            ]
            kidney = tube(self.where, ends, np.multiply(rng.uniform(0.85, 1.15), [22, 27, 22]))
            around = (self.cavity < -1) & (kidney < rng.uniform(2, 14))
            self.put(around, Organ.FAT, over=(Organ.GUT_WALL, Organ.GUT_FLUID, Organ.STOOL, Organ.GAS, Organ.SPLEEN))
            self.put(kidney < 0, Organ.KIDNEY)
            sinus = tube(self.where, [tuple(np.add(p, (-side * 10, -4, 0))) for p in ends], [4, 12, 4])
            self.put((sinus + 3 * self.noise(7.0) < 0) & (kidney < 4), Organ.FAT)
            if rng.random() < 0.3:
                cyst = ellipsoid(self.where, self.jitter(ends[int(rng.integers(3))], 16.0), (rng.uniform(5, 25),) * 3)
                self.put((cyst < 0) & (self.cavity < 0), Organ.BLADDER)

    def add_vessels(self) -> None:
        """Aorta, inferior vena cava, the large branches."""
        rng, front = self.rng, self.build.half_depth - 22
        top = self.build.dome
        wide = rng.uniform(8, 13)
        aorta = tube(self.where, [(8, front - 8, -110), (9, front - 8, top), (14, front + 5, top + 200)], [wide] * 3)
        self.put(aorta < 0, Organ.ARTERY)
        self.put((np.abs(aorta) < 1.2) & (self.noise(6.0) > 1.3), Organ.BONE)
        cava = [(-20, front - 6, -110), (-24, front - 8, top - 110), (-24, front - 22, top - 25), (-10, 5, top + 25)]
        self.put(tube(self.where, cava, np.multiply(rng.uniform(0.8, 1.2), [10, 11, 12, 13])) < 0, Organ.VEIN)
        for side in _SIDES:
            leg = [(side * 8, front - 8, -105), (side * 50, 10, -200), (side * 75, -40, -280)]
            self.put(tube(self.where, leg, [8, 7, 7]) < 0, Organ.VEIN)
            self.put(tube(self.where, [tuple(np.add(p, (6, -12, 0))) for p in leg], [6, 5, 5]) < 0, Organ.ARTERY)
        splenic = [(-30, -2, top - 120), (5, 8, top - 118), (80, 25, top - 90)]
        self.put((tube(self.where, splenic, [7, 5, 4]) < 0) & (self.cavity < 0), Organ.VEIN)

    def add_liver(self) -> None:
        """The liver under the right dome, its vessels, lesions at times, the gallbladder below it."""
        rng, top, size = self.rng, self.build.dome, self.build.liver
        x, y, z = self.where
        right = ellipsoid(
            self.where,
            self.jitter((-66, 5, top - 78), 6.0),
            (82 * size, 98 * size, rng.uniform(80, 112) * size),
        )
        under = self.plane((0.62, rng.uniform(0.1, 0.5), -0.72), self.jitter((-42, 18, top - 108), 9.0))
        left = ellipsoid(
            self.where, self.jitter((8, -48, top - 55), 6.0), (rng.uniform(60, 112) * size, 46 * size, 46 * size)
        )
        below = self.plane((0.15, 0.6, -0.78), self.jitter((10, -26, top - 78), 7.0))
        whole = union([np.maximum(right, under), np.maximum(left, below)], 9.0)
        whole = whole + 2.5 * self.noise(22.0) + 0.8 * self.noise(9.0)
        gap = rng.uniform(0.5, 4.0) + 1.5 * self.noise(30.0)
        room = (self.cavity < -gap) & (z < self.dome - 3) & (self.radius < 0.995)
        kept = np.isin(self.organs, (Organ.KIDNEY, Organ.BONE, Organ.MARROW, Organ.DISC, Organ.ARTERY, Organ.VEIN))
        liver = (whole < 0) & room & ~kept
        # Fat between the liver and what it would otherwise touch, at some places.
        rim = (whole < rng.uniform(0, 5) * (self.noise(24.0) > 0)) & room & ~kept & ~liver
        self.put(rim, Organ.FAT)
        fissure = np.abs(x - 4 - 8 * self.noise(40.0)) < 1.5
        liver &= ~(fissure & (z < top - 75) & (y < 0))
        self.put(liver, Organ.LIVER)
        if rng.random() < 0.85:
            ends = [(-38, -12, top - 112), self.jitter((-46, -48, top - 150), 9.0)]
            bladder = tube(self.where, ends, np.multiply(rng.uniform(0.5, 1.4), [9, 18]))
            self.put((bladder < 0) & (self.cavity < -3), Organ.GALLBLADDER)
        self._add_liver_vessels(top)
        for _ in range(int(rng.choice([0, 0, 1, 2, 5]))):
            self._add_lesion(top)

    def _add_liver_vessels(self, top: float) -> None:
        rng = self.rng
        portal: list[Point] = [(-22, 0, top - 112), (-48, -4, top - 92), (-80, 10, top - 75), (-105, 25, top - 70)]
        left: list[Point] = [portal[1], (-30, -40, top - 70), (20, -50, top - 60)]
        trees: list[tuple[list[Point], list[float]]] = [(portal, [7, 6, 4, 2]), (left, [5, 4, 2])]
        root = (-22.0, 25.0, top - 35)
        for tip in ((-105.0, 20.0, top - 90), (-60.0, -50.0, top - 95), (10.0, -55.0, top - 65)):
            middle = (np.add(root, tip) / 2).tolist()
            trees.append(([root, self.jitter((middle[0], middle[1], middle[2])), self.jitter(tip, 10.0)], [6, 4, 1.5]))
        for points, radii in trees:
            vessel = tube(self.where, points, np.multiply(rng.uniform(0.6, 1.2), radii)) + 1.2 * self.noise(15.0)
            self.put(vessel < 0, Organ.LIVER_VEIN, over=(Organ.LIVER,))

    def _add_lesion(self, top: float) -> None:
        radius = float(np.exp(self.rng.uniform(np.log(4), np.log(38))))
        centre = self.jitter((-60, 0, top - 80), 35.0)
        lesion = ellipsoid(self.where, centre, tuple(radius * self.rng.uniform(0.8, 1.25, 3))) + 1.5 * self.noise(10.0)
        self.put(lesion < 0, Organ.LESION, over=(Organ.LIVER, Organ.LIVER_VEIN))

    def add_chest(self) -> None:
        """Lungs above the domes, heart and vessels between them, the diaphragm."""
        rng, top = self.rng, self.build.dome
        x, y, z = self.where
        inside = (self.cavity < -1) & (z > self.dome)
        soft = (Organ.FAT, Organ.GUT_WALL, Organ.GUT_FLUID, Organ.GAS, Organ.STOOL, Organ.SPLEEN, Organ.PANCREAS)
        middle = np.abs(x - 6 - 8 * self.noise(50.0)) - rng.uniform(22, 34)
        self.put((self.cavity < -1) & (z > self.dome - rng.uniform(1.5, 4)) & (z <= self.dome), Organ.MUSCLE, over=soft)
        self.put(inside & (middle < 0), Organ.FAT, over=soft)
        self.put(inside & (middle > 0) & ~np.isin(self.organs, (Organ.BONE, Organ.MARROW, Organ.DISC)), Organ.LUNG)
        heart = ellipsoid(self.where, self.jitter((20, -25, top + 38)), tuple(rng.uniform(38, 60, 3)))
        self.put((heart < 0) & inside, Organ.HEART)
        branches = (np.abs(self.noise(9.0)) < 0.08) & (np.abs(self.noise(9.0)) < 0.35)
        self.put(branches, Organ.VEIN, over=(Organ.LUNG,))
        if rng.random() < 0.15:
            # Water in the chest, behind and below.
            level = y - rng.uniform(20, 60) - 0.3 * (top - z)
            self.put(level > 0, Organ.BLADDER, over=(Organ.LUNG,))

    def add_couch(self, straight: list[FloatArray]) -> None:
        """The table that the person lies on."""
        rng = self.rng
        x, y, _ = straight
        behind = self.build.half_depth + self.build.fat + rng.uniform(38, 48)
        curve = y - behind + x**2 / rng.uniform(600, 3000)
        sheet = (np.abs(curve) < rng.uniform(1.5, 5)) & (np.abs(x) < 230)
        self.put(np.broadcast_to(sheet, SHAPE), Organ.COUCH, over=(Organ.AIR,))
