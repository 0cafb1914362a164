"""Anatomy of the abdominal phantom: which tissue fills each voxel of a randomly shaped subject."""

from enum import IntEnum

import numpy as np

from Stage2.phantom.geometry import Frame, ellipsoid, smooth_noise

BOWEL_FILLINGS = 6


# What a voxel is made of. The names end in the side of the patient, not of the picture; BOWEL is the first of
# BOWEL_FILLINGS fillings.
Tissue = IntEnum(
    "Tissue",
    "AIR SUBCUTANEOUS_FAT VISCERAL_FAT MUSCLE CORTICAL_BONE MARROW DISC CEREBROSPINAL_FLUID CORD LUNG HEART LIVER "
    "LIVER_VESSEL KIDNEY_RIGHT MEDULLA_RIGHT KIDNEY_LEFT MEDULLA_LEFT RENAL_SINUS SPLEEN AORTA VENA_CAVA STOMACH "
    "GALLBLADDER PANCREAS MESENTERIC_VESSEL BOWEL_WALL BOWEL",
    start=0,
)
TISSUES = int(Tissue.BOWEL) + BOWEL_FILLINGS


def build_anatomy(rng: np.random.Generator, frame: Frame) -> np.ndarray:
    """Tissue codes (Z, H, W) uint8 of one subject: values of `Tissue`, or of a bowel filling above `Tissue.BOWEL`."""
    tissue, cavity = _trunk(rng, frame)
    _spine(rng, frame, tissue)
    _liver_and_spleen(rng, frame, tissue, cavity)
    _kidneys(rng, frame, tissue, cavity)
    _vessels(rng, frame, tissue)
    _digestive_tract(rng, frame, tissue)
    return tissue


def _trunk(rng: np.random.Generator, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Skin to peritoneum, ribs, muscles of the back, lungs and heart; also the mask of the abdominal cavity."""
    x, y, z = frame.x, frame.y, frame.z
    groove = 0.13 * np.exp(-((x / 20) ** 2)) * np.clip(-(y + 50) / 50, 0, 1)
    level = (np.abs(x) / 140) ** 2.4 + (np.abs(y) / np.where(y < 0, 96, 102)) ** 2.4 + groove
    depth = 100 * (1 - level ** (1 / 2.4))  # mm below the skin, roughly
    fat = rng.uniform(4, 15) * (1 + 0.25 * smooth_noise(rng, x.shape, (3, 5, 5))) + 4 * np.clip(-y / 60, 0, 1)
    wall = fat + rng.uniform(8, 13)
    cavity = depth > wall
    tissue = np.zeros(x.shape, np.uint8)
    tissue[level < 1] = Tissue.SUBCUTANEOUS_FAT
    tissue[(level < 1) & ((depth > fat) | (depth < 2))] = Tissue.MUSCLE  # the skin is as bright as muscle
    tissue[cavity] = Tissue.VISCERAL_FAT
    twigs = smooth_noise(rng, x.shape, (7, 18, 18)) ** 2 + smooth_noise(rng, x.shape, (7, 18, 18)) ** 2
    tissue[cavity & (twigs < 0.12)] = Tissue.MESENTERIC_VESSEL

    # Ribs run down and forward inside the wall, so an axial slice cuts each of them to a short bar.
    phase = (z + 0.55 * y + rng.uniform(0, 26)) % 26
    rib = (np.abs(depth - wall + 4) < 3.5) & (phase < 11) & (z > -5) & (np.abs(x) > 45)
    tissue[rib] = Tissue.CORTICAL_BONE
    tissue[rib & (np.abs(depth - wall + 4) < 1.6)] = Tissue.MARROW

    streaks = smooth_noise(rng, x.shape, (4, 24, 24)) > 1.3
    for side in (-1, 1):
        back, form = ellipsoid(frame, (side * 30, -66, 0), (27, 22, 400))
        muscle = (form < 1) & (depth[back] > fat[back])
        tissue[back][muscle] = Tissue.MUSCLE
        tissue[back][muscle & streaks[back]] = Tissue.VISCERAL_FAT
        psoas, form = ellipsoid(frame, (side * 36, -16, -70), (18, 20, 85), tilt_deg=side * 8)
        tissue[psoas][(form < 1) & cavity[psoas]] = Tissue.MUSCLE

    spread = (np.maximum(np.abs(x) - 60, 0) / 70) ** 2 + ((y - 15) / 86) ** 2
    floor = rng.uniform(108, 124) - 60 * np.minimum(spread, 1.5)
    tissue[cavity & (z > floor)] = Tissue.LUNG
    heart, form = ellipsoid(frame, (25, 42, 150), (62, 46, 42))
    tissue[heart][(form < 1) & cavity[heart]] = Tissue.HEART
    return tissue, cavity & (tissue != Tissue.LUNG) & (tissue != Tissue.HEART)


def _spine(rng: np.random.Generator, frame: Frame, tissue: np.ndarray) -> None:
    """Vertebral bodies and discs, canal with cord, spinous and transverse processes."""
    spinous, transverse = (5, 17, 400), (20, 4.5, 400)
    for centre, radii, turn in (
        ((0, -60, 0), spinous, 0), ((-24, -38, 0), transverse, 14), ((24, -38, 0), transverse, -14),
    ):  # fmt: skip
        box, form = ellipsoid(frame, centre, radii, turn)
        tissue[box][form < 1] = Tissue.CORTICAL_BONE
    box, form = ellipsoid(frame, (0, -12, 0), (23, 18, 400))
    disc = (frame.z[box] + rng.uniform(0, 34)) % 34 < 8
    tissue[box][form < 1] = Tissue.CORTICAL_BONE
    tissue[box][(form < 0.8) & ~disc] = Tissue.MARROW
    tissue[box][(form < 1) & disc] = Tissue.DISC
    box, form = ellipsoid(frame, (0, -37, 0), (12, 10.5, 400))
    tissue[box][form < 1] = Tissue.CORTICAL_BONE
    tissue[box][form < 0.65] = Tissue.CEREBROSPINAL_FLUID
    tissue[box][(form < 0.16) & (frame.z[box] > -20)] = Tissue.CORD


def _liver_and_spleen(rng: np.random.Generator, frame: Frame, tissue: np.ndarray, cavity: np.ndarray) -> None:
    def jitter(*values: float, by: float) -> tuple:
        return tuple(rng.normal(value, by) for value in values)

    grow = rng.uniform(0.95, 1.15)
    radii = (68 * grow, 78 * grow, 86 * grow)
    right, right_form = ellipsoid(frame, jitter(-66, 10, 50, by=5), radii, tilt_deg=rng.normal(0, 5))
    place, radii = jitter(8, 44, 72, by=6), (rng.uniform(55, 85), rng.uniform(24, 36), rng.uniform(34, 46))
    left, left_form = ellipsoid(frame, place, radii, rng.normal(-10, 6))
    hollow, hollow_form = ellipsoid(frame, jitter(0, 8, -28, by=5), (78, 84, 80))
    closeness = np.zeros(tissue.shape, np.float32)  # inverse squared forms add up to a smooth union of the lobes
    closeness[right] += 1 / (right_form**2 + 1e-6)
    closeness[left] += 1 / (left_form**2 + 1e-6)
    liver = (closeness > 1) & cavity
    liver[hollow] &= hollow_form > 1
    box, form = ellipsoid(frame, (0, -25, 0), (34, 34, 400))  # room for the spine, the crura and the great vessels
    liver[box] &= form > 1
    tissue[liver] = Tissue.LIVER
    branches = smooth_noise(rng, tissue.shape, (6, 13, 13)) ** 2 + smooth_noise(rng, tissue.shape, (6, 13, 13)) ** 2
    tissue[liver & (branches < 0.045)] = Tissue.LIVER_VESSEL

    grow = rng.uniform(0.95, 1.2)
    x, y, z = jitter(84, -44, 56, by=4)
    box, form = ellipsoid(frame, (x, y, z), (42 * grow, 58 * grow, 50 * grow), rng.normal(-12, 8), rng.normal(0, 6))
    hilum, hilum_form = ellipsoid(frame, (x - 44, y + 26, z - 10), (36, 44, 60), rng.normal(-8, 8))
    spleen = np.zeros(tissue.shape, bool)
    spleen[box] = form < 1
    spleen[hilum] &= hilum_form > 1
    tissue[spleen & cavity] = Tissue.SPLEEN


def _kidneys(rng: np.random.Generator, frame: Frame, tissue: np.ndarray, cavity: np.ndarray) -> None:
    """Beans with cortex, medulla and sinus in a capsule of fat, which is so thin in some subjects that organs touch."""
    capsule = 1 + rng.uniform(0, 0.2) * (1 + smooth_noise(rng, tissue.shape, (5, 9, 9)))
    lobules = smooth_noise(rng, tissue.shape, (6, 20, 20))
    for side, cortex, medulla in (
        (-1, Tissue.KIDNEY_RIGHT, Tissue.MEDULLA_RIGHT),
        (1, Tissue.KIDNEY_LEFT, Tissue.MEDULLA_LEFT),
    ):
        x, y, z = side * 66 + rng.normal(0, 4), rng.normal(-37, 5), side * 5 + rng.normal(0, 9)
        radii = (rng.uniform(24, 30), rng.uniform(26, 33), rng.uniform(44, 56))
        turn, tilt = side * rng.normal(-25, 10), side * rng.normal(-8, 4)
        box, form = ellipsoid(frame, (x, y, z), radii, turn, tilt)
        room = cavity[box] & (frame.x[box] * side > 24)
        sinus = np.full(tissue.shape, np.inf, np.float32)
        sinus_box, sinus_form = ellipsoid(frame, (x - side * 19, y + 8, z), (17, 9, 17), turn, tilt)
        sinus[sinus_box] = sinus_form
        tissue[box][(form < capsule[box]) & room] = Tissue.VISCERAL_FAT
        tissue[box][(form < 1) & room] = cortex
        tissue[box][(form < 0.62 + 0.18 * lobules[box]) & room] = medulla
        tissue[box][(form < 1) & (sinus[box] < 1) & room] = Tissue.RENAL_SINUS


def _vessels(rng: np.random.Generator, frame: Frame, tissue: np.ndarray) -> None:
    for code, x, y, radius in (
        (Tissue.AORTA, rng.normal(11, 3), rng.normal(16, 2), rng.uniform(8, 11)),
        (Tissue.VENA_CAVA, rng.normal(-19, 3), rng.normal(17, 3), rng.uniform(9, 13)),
    ):
        box, form = ellipsoid(frame, (x, y, 0), (radius, radius * rng.uniform(0.75, 1), 400))
        tissue[box][form < 1] = code


def _digestive_tract(rng: np.random.Generator, frame: Frame, tissue: np.ndarray) -> None:
    """Stomach, pancreas, gallbladder and bowel: neighbours of the organs, with fillings as bright as these."""

    def fill(
        code: int, centre: tuple, radii: tuple, turn: float = 0, tilt: float = 0, wall: float = 1.0, over: tuple = ()
    ) -> None:
        box, form = ellipsoid(frame, centre, radii, turn, tilt)
        free = np.isin(tissue[box], (Tissue.VISCERAL_FAT, Tissue.MESENTERIC_VESSEL, Tissue.BOWEL_WALL, *over))
        tissue[box][free & (form < 1)] = Tissue.BOWEL_WALL
        tissue[box][free & (form < wall)] = code

    place = (rng.normal(18, 6), rng.normal(26, 3), rng.normal(28, 6))
    fill(Tissue.PANCREAS, place, (52, 10, 15), rng.normal(-18, 6), 12)
    place = (rng.normal(-44, 5), rng.normal(42, 5), rng.normal(18, 5))
    radii = (rng.uniform(9, 15), rng.uniform(15, 24), rng.uniform(10, 18))
    fill(Tissue.GALLBLADDER, place, radii, rng.normal(0, 15), over=(Tissue.LIVER,))
    place = (rng.normal(56, 6), rng.normal(34, 6), rng.normal(70, 8))
    radii = (rng.uniform(32, 46), rng.uniform(24, 36), rng.uniform(30, 44))
    fill(Tissue.STOMACH, place, radii, rng.normal(0, 15), rng.normal(0, 10), wall=0.8)
    for side_x, side_y in ((-90, 10), (98, 2)):  # ascending and descending colon, haustrum by haustrum
        for z in np.arange(-95, 25 if side_x > 0 else -20, 24):
            filling = int(Tissue.BOWEL + rng.integers(BOWEL_FILLINGS))
            place = (rng.normal(side_x, 4), rng.normal(side_y, 5), z)
            fill(filling, place, tuple(rng.uniform(13, 20, size=3)), wall=0.75)
    for _ in range(rng.integers(14, 20)):  # loops of bowel: chains of balls that wander
        filling = int(Tissue.BOWEL + rng.integers(BOWEL_FILLINGS))
        place = rng.uniform((-85, 5, -95), (95, 75, 40))
        radius, heading = rng.uniform(9, 16), rng.uniform(0, 2 * np.pi)
        for _ in range(rng.integers(3, 7)):
            fill(filling, tuple(place), (radius * 1.3, radius, radius), np.rad2deg(heading), wall=0.72)
            heading += rng.normal(0, 0.6)
            place = place + radius * np.array([1.3 * np.cos(heading), 1.3 * np.sin(heading), rng.normal(0, 0.4)])
