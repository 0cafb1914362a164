"""One training episode as a picture: support, query, prediction, pseudo-label."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from Stage2.drawing.masks import MASK, as_bytes, coloured, paint

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
    panels = [coloured(image) for image in (support, query, query, query)]
    paint(panels[0], episode["support_foreground"][0].cpu().numpy() > 0.5, MASK)
    paint(panels[2], episode["logits"][0].argmax(dim=0).cpu().numpy() == 1, MASK)
    paint(panels[3], episode["query_label"][0].cpu().numpy() == 1, MASK)
    gap = np.ones((len(query), GAP, 3))
    return as_bytes(np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1))
