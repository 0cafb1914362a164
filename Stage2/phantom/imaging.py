"""Contrast of the abdominal phantom: MR-like and CT-like intensities of a tissue map."""

import cv2
import numpy as np

from Stage2.phantom.anatomy import BOWEL_FILLINGS, TISSUES, Tissue
from Stage2.phantom.geometry import smooth_noise

# Range of a subject's mean per tissue, and the share (MR) or the HU (CT) its texture varies by: in MR, then in CT.
# Fat-suppressed T2: fluid, kidney and spleen bright, liver darker; the ranges overlap, so that no threshold tells the
# organs apart.
RANGES = {
    Tissue.SUBCUTANEOUS_FAT: ((75, 125, 0.14), (-108, -92, 5)),
    Tissue.VISCERAL_FAT: ((65, 115, 0.25), (-102, -82, 12)),
    Tissue.MUSCLE: ((115, 180, 0.14), (45, 68, 8)),
    Tissue.CORTICAL_BONE: ((35, 65, 0.2), (280, 500, 60)),
    Tissue.MARROW: ((170, 270, 0.12), (130, 230, 35)),
    Tissue.DISC: ((110, 300, 0.15), (70, 110, 10)),
    Tissue.CEREBROSPINAL_FLUID: ((800, 1150, 0.05), (8, 30, 5)),
    Tissue.CORD: ((330, 450, 0.05), (30, 45, 5)),
    Tissue.LUNG: ((18, 40, 0.5), (-860, -720, 40)),
    Tissue.HEART: ((150, 350, 0.35), (90, 170, 12)),
    Tissue.LIVER: ((250, 420, 0.09), (75, 125, 8)),
    Tissue.LIVER_VESSEL: ((420, 700, 0.1), (100, 170, 8)),
    Tissue.KIDNEY_RIGHT: ((470, 760, 0.1), (95, 185, 10)),
    Tissue.MEDULLA_RIGHT: ((560, 900, 0.12), (80, 190, 12)),
    Tissue.RENAL_SINUS: ((250, 900, 0.2), (-60, 50, 25)),
    Tissue.SPLEEN: ((420, 760, 0.08), (85, 140, 7)),
    Tissue.AORTA: ((90, 420, 0.12), (105, 190, 6)),
    Tissue.VENA_CAVA: ((150, 480, 0.12), (90, 160, 8)),
    Tissue.STOMACH: ((130, 850, 0.2), (0, 80, 18)),
    Tissue.GALLBLADDER: ((600, 1100, 0.06), (0, 25, 5)),
    Tissue.PANCREAS: ((220, 400, 0.15), (60, 110, 14)),
    Tissue.MESENTERIC_VESSEL: ((140, 320, 0.3), (-40, 120, 30)),
    Tissue.BOWEL_WALL: ((180, 320, 0.15), (50, 100, 10)),
}
BOWEL = ((90, 950, 0.2), (-10, 160, 25))  # of every filling
MR, CT = 0, 1  # places in these
CT_WINDOW_HU = (-125.0, 275.0)


def render_mr(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    """T2-SPIR-like magnitude image (Z, H, W) float32 from 0 to about 1500, clipped at the volume's 99.5 percentile."""
    magnitude = mr_magnitude(rng, tissue)
    return np.minimum(magnitude, np.percentile(magnitude, 99.5)).astype(np.float32)


def render_ct(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    """CT-like image (Z, H, W) float32 in [0, 255]: the soft tissue window, 0 at -125 HU and 255 at 275 HU."""
    low, high = CT_WINDOW_HU
    return ((np.clip(ct_hounsfield(rng, tissue), low, high) - low) * (255 / (high - low))).astype(np.float32)


def mr_magnitude(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    """T2-SPIR-like magnitude image (Z, H, W) float32 as the scanner gives it, with all its bright voxels."""
    image = _paint(rng, tissue, MR)
    image *= np.exp(0.13 * smooth_noise(rng, tissue.shape, (4, 9, 9)))  # perfusion varies, and suppression of fat
    _blur(image, 0.6)
    image *= np.exp(rng.uniform(0.15, 0.35) * smooth_noise(rng, tissue.shape, (3, 4, 4)))  # coil sensitivity
    image *= rng.normal(1, 0.03, size=(len(tissue), 1, 1)).astype(np.float32)  # gain from slice to slice
    noise = rng.uniform(5, 9)
    real = image + noise * rng.standard_normal(tissue.shape, dtype=np.float32)
    imaginary = noise * rng.standard_normal(tissue.shape, dtype=np.float32)
    return np.hypot(real, imaginary) * np.float32(rng.uniform(0.85, 1.35))


def ct_hounsfield(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    """CT-like image (Z, H, W) float32 in Hounsfield units."""
    image = _paint(rng, tissue, CT)
    _blur(image, 0.6)
    image += 9 * smooth_noise(rng, tissue.shape, (3, 5, 5))  # beam hardening and scatter
    grain = rng.standard_normal(tissue.shape, dtype=np.float32)
    _blur(grain, 1.0)
    image += rng.uniform(9, 16) / grain.std() * grain
    return image


def _paint(rng: np.random.Generator, tissue: np.ndarray, contrast: int) -> np.ndarray:
    """Subject's mean of every tissue plus correlated texture, (Z, H, W) float32."""
    mean, spread = np.zeros(TISSUES, np.float32), np.zeros(TISSUES, np.float32)
    mean[Tissue.AIR] = (0.0, -1000.0)[contrast]
    fillings = {int(Tissue.BOWEL) + index: BOWEL for index in range(BOWEL_FILLINGS)}
    for code, ranges in {**RANGES, **fillings}.items():
        low, high, texture = ranges[contrast]
        mean[code] = rng.uniform(low, high)
        spread[code] = texture * mean[code] if contrast == MR else texture
    for left, right in ((Tissue.KIDNEY_LEFT, Tissue.KIDNEY_RIGHT), (Tissue.MEDULLA_LEFT, Tissue.MEDULLA_RIGHT)):
        mean[left], spread[left] = mean[right], spread[right]  # one patient's kidneys look alike
    fine = rng.standard_normal(tissue.shape, dtype=np.float32)
    _blur(fine, 1.3)
    texture = 0.7 / fine.std() * fine + 0.7 * smooth_noise(rng, tissue.shape, (10, 28, 28))
    return mean[tissue] + spread[tissue] * texture


def _blur(volume: np.ndarray, sigma: float) -> None:
    """Gaussian blur of every slice in place, `sigma` in pixels."""
    for plane in volume:
        plane[...] = cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
