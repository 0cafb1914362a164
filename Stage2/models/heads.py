"""Few-shot heads: what a support says of a class, how a query is scored by it, and the losses of an episode."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from Stage2.models.alp import (
    background_prototypes,
    extended,
    foreground_prototypes,
    global_prototypes,
    similarity_score,
)  # fmt: skip
from Stage2.models.portable import PortableGlobalPrototypes, PortableLocalPrototypes

IGNORE = 255
QUERY_CLASS_WEIGHTS = (0.05, 1.0)  # background, foreground


class Prototypes(NamedTuple):
    """What a support says about a class: (P_b, C) and (P_f, C), or such prototypes with weights."""

    background: Tensor
    foreground: Tensor


class Head(nn.Module):
    """A head by prototypes; here is what ALPNet and PA-Net share, and another one overrides what it does otherwise.

    Its parameters, where it has any, are trained with the encoder's and lie in snapshots.

    Attributes:
        key_prefix: what the names of its parameters begin with in a snapshot; "": they stand beside `encoder.*`.
        class_weights: of background and foreground in the query loss, where `use_wce` asks for them.
    """

    key_prefix = "head."
    class_weights = QUERY_CLASS_WEIGHTS

    def prototypes(self, features: Tensor, foreground: Tensor, background: Tensor, window: int) -> Any:
        """What a support says of a class, in a form that only the head reads.

        Args:
            features: support features, (S, C, h, w).
            foreground: masks of the class, (S, H, W) float, any resolution.
            background: masks of everything else, (S, H, W) float.
            window: side of a pooling cell in feature pixels.

        Raises:
            DegenerateEpisodeError: the support says too little.
        """
        raise NotImplementedError

    def scores(self, query_features: Tensor, prototypes: Any) -> Tensor:
        """Scores of background and foreground on the feature grid, (B, C, h, w) -> (B, 2, h, w); the larger wins."""
        return torch.cat([similarity_score(query_features, of_class)[0] for of_class in prototypes], dim=1)

    def upsample(self, scores: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits of every pixel, (B, 2, h, w) -> (B, 2, *size): their softmax is the probability of both classes."""
        return functional.interpolate(scores, size, mode="bilinear")

    def losses(
        self, support_features: Tensor, support_foreground: Tensor, query_features: Tensor, query_label: Tensor,
        window: int, *, align: bool = True, weigh_classes: bool = True,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Losses of one episode; arguments and answer as of `FewShotSegmenter.training_losses`, from features.

        Args:
            support_features: (S, C, h, w).
            query_features: (1, C, h, w).
        """
        prototypes = self.prototypes(support_features, support_foreground, 1 - support_foreground, window)
        scores = self.scores(query_features, prototypes)
        logits = self.upsample(scores, query_label.shape[-2:])
        weight = logits.new_tensor(self.class_weights) if weigh_classes else None
        query_loss = functional.cross_entropy(logits, query_label, weight=weight, ignore_index=IGNORE)
        align_loss = query_loss.new_zeros(())
        if align:
            align_loss = self.alignment_loss(scores, query_features, support_features, support_foreground, window)
        return {"query_loss": query_loss, "align_loss": align_loss, "logits": logits}

    def alignment_loss(
        self, scores: Tensor, query_features: Tensor, support_features: Tensor, support_foreground: Tensor, window: int
    ) -> Tensor:
        """Loss of the reverse episode: the predicted query is the support of every support image, shot by shot.

        Args:
            scores: of the query on the feature grid, (1, 2, h, w).
            query_features: (1, C, h, w).
            support_features: (S, C, h, w).
            support_foreground: (S, H, W) float.
            window: side of a pooling cell in feature pixels.

        Source: PANet (Wang et al., ICCV 2019), section 3.4.
        """
        predicted = scores.argmax(dim=1).float()  # 1, h, w; an empty prediction still counts: its prototype scores 0
        prototypes = self.prototypes(query_features, predicted, 1 - predicted, window)
        return self.support_loss(self.scores(support_features, prototypes), support_foreground)

    def support_loss(self, scores: Tensor, support_foreground: Tensor) -> Tensor:
        """Unweighted cross-entropy of supports that were segmented, (S, 2, h, w), with their masks, (S, H, W) float."""
        logits = self.upsample(scores, support_foreground.shape[-2:])
        # The published label is 1 on the foreground, 0 on the background and ignored where a pixel is neither.
        label = torch.full_like(support_foreground, IGNORE, dtype=torch.int64)
        label[support_foreground == 1] = 1
        label[support_foreground == 0] = 0
        return functional.cross_entropy(logits, label, ignore_index=IGNORE)

    def joined(self, prototypes: Any, cells: Prototypes, most: int) -> Any:
        """Prototypes of the support with further ones of the query's confident cells, at inference.

        Each class that the head has prototypes of is extended as `Stage2.models.alp.extended` says.

        Args:
            prototypes: of the support.
            cells: features of confident cells, (N_b, C) and (N_f, C).
            most: to add to a class.

        Raises:
            ValueError: the head's prototypes are not named as those of `Prototypes`, so nothing can be added to them.
        """
        names = getattr(prototypes, "_fields", ())
        if not names or not set(names) <= set(Prototypes._fields):
            raise ValueError(
                f"{type(self).__name__} takes no prototypes of the query; set query_prototypes=0, or write its joined()"
            )
        return prototypes._replace(
            **{name: extended(getattr(prototypes, name), getattr(cells, name), most) for name in names}
        )

    def portable(self, window: int) -> nn.Module | None:
        """The head as one graph of fixed shape, for ONNX, see `Stage2.models.portable`; None: it has none."""
        return None


class LocalPrototypeHead(Head):
    """ALPNet's adaptive local prototypes, and global ones of the foreground.

    Source: SSL-ALPNet (Ouyang et al., ECCV 2020), section 3.3.
    """

    def prototypes(self, features: Tensor, foreground: Tensor, background: Tensor, window: int) -> Prototypes:
        foreground, background = (_to_grid(mask, features) for mask in (foreground, background))
        return Prototypes(
            background_prototypes(features, background, window), foreground_prototypes(features, foreground, window)
        )

    def portable(self, window: int) -> nn.Module | None:
        return PortableLocalPrototypes(window) if type(self) is LocalPrototypeHead else None  # not a subclass's


class GlobalPrototypeHead(Head):
    """PA-Net's masked average of each class, over all shots.

    Source: PANet (Wang et al., ICCV 2019), section 3.2.
    """

    def prototypes(self, features: Tensor, foreground: Tensor, background: Tensor, window: int) -> Prototypes:
        masks = (_to_grid(mask, features) for mask in (background, foreground))
        return Prototypes(*(global_prototypes(features, mask).mean(dim=0, keepdim=True) for mask in masks))

    def portable(self, window: int) -> nn.Module | None:
        return PortableGlobalPrototypes(window) if type(self) is GlobalPrototypeHead else None


def _to_grid(mask: Tensor, features: Tensor) -> Tensor:
    """A mask on the grid of features, (S, H, W) -> (S, 1, h, w)."""
    return functional.interpolate(mask[:, None], features.shape[-2:], mode="bilinear")
