"""The published scores that results may stand beside."""

from collections.abc import Mapping
from types import MappingProxyType

# Mean Dice over five folds and four organs (both label sets), best snapshot by test Dice, by (data set, setting).
# Source: DenseMP (Fan et al., 2023), which also gives the numbers of SSL-ALPNet (Ouyang et al., ECCV 2020).
PUBLISHED_DICE: Mapping[tuple[str, int], Mapping[str, float]] = MappingProxyType(
    {
        ("CHAOST2", 1): MappingProxyType({"SSL-ALPNet": 0.7884, "DenseMP": 0.7983}),
        ("CHAOST2", 2): MappingProxyType({"SSL-ALPNet": 0.7302, "DenseMP": 0.7686}),
        ("SABS", 1): MappingProxyType({"SSL-ALPNet": 0.7335, "DenseMP": 0.7284}),
        ("SABS", 2): MappingProxyType({"SSL-ALPNet": 0.6302, "DenseMP": 0.6839}),
    }
)
PROTOCOL = "paper"  # the only one that they compare with
