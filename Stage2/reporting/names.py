"""Names of experiments, without what tells apart the runs of one: fold, seed, label set."""

import re


def short_name(name: str) -> str:
    """`a/mySSL_test_vfold*_CHAOST2_Superpix_sets_0_1shot` -> `a/test`; one shot is not worth a word."""
    folder, _, experiment = name.rpartition("/")
    found = re.fullmatch(r"mySSL_(.*?)_?(?:vfold(?:\*|\d+)_?)?[^_]+(?:_Superpix)?_sets_[\d*]+_(\d+)shot", experiment)
    if found:
        experiment = (found[1] or experiment) + ("" if found[2] == "1" else f" ({found[2]} shots)")
    return f"{folder}/{experiment}" if folder else experiment


def over_label_sets(name: str) -> str:
    """The name with * for the label set, so that experiments that differ in it only can be put side by side."""
    name = re.sub(r"_l\d+(?=[/_]|$)", "_l*", name)
    return re.sub(r"(sets_|lbgroup)\d+", r"\1*", name)


def without_fold_and_seed(name: str) -> str:
    """The name with * for the fold, and without the `_seed<n>` that a log folder of another seed ends in."""
    return re.sub(r"_seed\d+(?=/|$)", "", re.sub(r"vfold\d+", "vfold*", name))
