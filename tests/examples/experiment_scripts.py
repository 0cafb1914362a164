"""The table of every experiment script: its name, its text, and the settings that it stands for.

A script only says which experiment it is of. After a change of this table, ``PYTHONPATH=$PWD python
tests/examples/experiment_scripts.py`` writes the scripts anew; a test compares them with it.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = f"{ROOT}/pretrained_model"
SETTINGS = {1: "all training slices", 2: "no training slice shows a tested organ"}
TESTED = {0: "kidneys", 1: "liver and spleen"}
EXPERIMENTS = {f"mri_ct_s{s}_l{label_set}": (s, label_set) for s, label_set in itertools.product(SETTINGS, TESTED)}
MODALITIES = {"mri": ("CHAOST2_Superpix", "MRI (CHAOS T2-SPIR)"), "ct": ("SABS_Superpix", "CT (Synapse)")}
MODES = {  # first part of a script's name: (mode of the driver, what it does)
    "train": ("train", "Train"),
    "test": ("test", "Test the trained networks"),
    "ft_train": ("finetune", "Fine-tune the trained networks"),
    "ft_test": ("finetune-test", "Test the fine-tuned networks"),
}
PUBLISHED_STEPS = "1000 2000 3000 4000 5000"


@dataclass(frozen=True)
class Variant:
    """Starting weights of an experiment.

    Attributes:
        name: VARIANT, which is also the folder of its runs below ``exps/<experiment>/``.
        words: what the scripts say of it.
        encoder: ``modelname``.
        weights: file in pretrained_model/, None for torchvision's COCO DeepLabV3.
        suffix: what the names of its scripts end with.
        published_suffix: the same in the published names; None: the scripts have no published name.
        only_finetuned: published as fine-tuning that starts from `weights`, without training.
    """

    name: str
    words: str
    encoder: str
    weights: str | None
    suffix: str | None
    published_suffix: str | None
    only_finetuned: bool = False

    @property
    def folder(self) -> str:
        return self.name.split("/")[0]


OTHER = {  # encoder, weights, words; our name, the published one
    ("simclr_res50", "res50simclr"): ("dlfcn_res50_mmcv", "simclr_roco_resnet50.pth", "ResNet-50 of SimCLR"),
    ("simmim_swin", "swinsimmim"): ("dlfcn_swin_mmcv", "simmim_roco_swin_b.pth", "Swin-B of SimMIM"),
    ("mae_vit", "vitmae"): ("dlfcn_vit_mmcv", "mae_roco_vit_b.pth", "ViT-B of MAE"),
}
VARIANTS = [
    Variant("00_DeepLabV3_Original", "COCO DeepLabV3", "dlfcn_res101", None, "_deeplabv3", ""),
    Variant("01_DenseCL_Original", "DenseCL on ImageNet, without Stage 1", "dlfcn_res101",
            "densecl_imagenet_resnet101.pth", "_densecl", "_densecl"),
    Variant("02_DenseCL_Medical", "Stage 1 on ROCO: the method", "dlfcn_res101",
            "densecl_roco_resnet101.pth", "_densecl", "_densecl"),
]  # fmt: skip
for (ours, published), (encoder, weights, words) in OTHER.items():
    name, words = "03_OtherSSL_Medical", f"{words} on medical images"
    VARIANTS += [
        Variant(f"{name}/{ours}", words, encoder, weights, f"_{ours}", None),
        Variant(f"{name}/{published}", words, encoder, weights, None, f"_{published}", only_finetuned=True),
    ]


@dataclass(frozen=True)
class Script:
    """One script: an experiment, its variant, ``mri`` or ``ct``, key of MODES, and whether it tests PUBLISHED_STEPS."""

    path: Path
    experiment: str
    variant: Variant
    modality: str
    step: str
    published_steps: bool

    @property
    def text(self) -> str:
        setting, label_set = EXPERIMENTS[self.experiment]
        mode, does = MODES[self.step]
        if self.variant.only_finetuned and self.step == "ft_train":
            does = "Fine-tune without training"
        steps = f'\nexport TESTED_STEPS="{PUBLISHED_STEPS}"' if self.published_steps else ""
        return f"""#!/usr/bin/env bash
# {does}, five folds: {MODALITIES[self.modality][1]}, starting from {self.variant.words}.
# Setting {setting}: {SETTINGS[setting]}. Tested: {TESTED[label_set]}. --help tells every setting.
set -euo pipefail
export EXPERIMENT={self.experiment} VARIANT={self.variant.name} MODALITY={self.modality}{steps}
exec bash "$(dirname "${{BASH_SOURCE[0]}}")/../../run_experiment.sh" {mode} "$@"
"""


def names(variant: Variant) -> list[tuple[str, str, str, bool]]:
    """(name, modality, step, whether it tests PUBLISHED_STEPS) of the variant's scripts."""
    found = {}
    for modality, step in itertools.product(MODALITIES, MODES):
        tuned = step.startswith("ft_")
        if variant.published_suffix is not None and (tuned or not variant.only_finetuned):
            task = f"{step}_5k_mix" if tuned else f"{step}_ssl"
            name = f"{task}_abdominal_{modality}{variant.published_suffix}_5_fold.sh"
            found[name] = (name, modality, step, step == "ft_test")
        if variant.suffix is not None:
            name = f"{step}_ssl_abdominal_{modality}{variant.suffix}_5_fold.sh"
            found[name] = (name, modality, step, False)
    return list(found.values())


SCRIPTS = [
    Script(ROOT / "examples" / experiment / variant.folder / name, experiment, variant, modality, step, published)
    for experiment in EXPERIMENTS
    for variant in VARIANTS
    for name, modality, step, published in names(variant)
]

if __name__ == "__main__":
    for script in SCRIPTS:
        script.path.write_text(script.text)
        script.path.chmod(0o755)
