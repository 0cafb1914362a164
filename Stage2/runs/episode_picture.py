"""One training episode as a picture: support, query, prediction, pseudo-label."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

MASK = np.array([255, 225, 25])  # yellow, as in the figures of results
GAP = 4  # pixels between the panels


def episode_picture(episode: Mapping[str, Tensor]) -> np.ndarray:
    """The four panels side by side as the network sees them, (H, 4 W + 3 gaps, 3) uint8.

    From the left: the (first) support with its mask, the query, the predicted mask on it, its pseudo-label (or the
    annotated class of a manual episode).

    Args:
        episode: "support_image" (S, 3, H, W), "support_foreground" (S, H, W), "query_image" (1, 3, H, W), "query_label"
            (1, H, W), "logits" (1, 2, H, W).
    """
    support, query = (episode[name][0, 0].cpu().numpy() for name in ("support_image", "query_image"))
    predicted = episode["logits"][0].argmax(dim=0).cpu().numpy() == 1
    panels = [
        _panel(support, episode["support_foreground"][0].cpu().numpy() > 0.5),
        _panel(query, np.zeros(query.shape, dtype=bool)),
        _panel(query, predicted),
        _panel(query, episode["query_label"][0].cpu().numpy() == 1),
    ]
    gap = np.full((len(query), GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)


def _panel(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image, [1, 99.5])
    grey = np.clip((image.astype(np.float64) - low) / max(high - low, 1e-6), 0, 1) * 255
    picture = np.repeat(grey[..., None], 3, axis=2)
    picture[mask] = 0.5 * picture[mask] + 0.5 * MASK
    return picture.round().astype(np.uint8)
