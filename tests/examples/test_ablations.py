"""Ablations: their arms differ from the method in what is stated, and share its runs and its table."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
METHOD = "mri_ct_s1_l0/02_DenseCL_Medical"
IMAGENET = f"{ROOT}/Stage1/initmodel/resnet101-63fe2227.pth"
ABLATIONS = {  # script: {arm: settings in which its training differs from the method's}
    "panet_against_alpnet": {"panet": {"clsname": "global_proto"}},
    "with_and_without_stage1": {
        "imagenet": {"pretrained_backbone": IMAGENET},
        "random": {"use_densecl_init": "False", "pretrained_backbone": None},
    },
    "with_and_without_finetuning": {},
    "superpixel_scale": {"small": {"superpix_scale": "SMALL"}},
}


@pytest.fixture(scope="module")
def recorder(tmp_path_factory) -> Path:
    """Stands where Python is started: writes the arguments that it was given as a line."""
    path = tmp_path_factory.mktemp("recorder") / "python"
    path.write_text("#!/usr/bin/env bash\nprintf '%s\\0' \"$@\"\necho\n")
    path.chmod(0o755)
    return path


def run(name: str, recorder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return subprocess.run(
        ["bash", str(ROOT / "examples" / "ablations" / f"{name}.sh"), *arguments],
        env=kept | {"PYTHON": str(recorder)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def settings_of(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words if "=" in word and not word.startswith("--"))


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_arms_differ_in_what_is_stated(name: str, recorder: Path):
    done = run(name, recorder, NSTEP="300", FT_NSTEP="60", ALL_EV="0")
    assert done.returncode == 0, done.stderr
    calls = [line.split("\0")[:-1] for line in done.stdout.splitlines() if not line.startswith("=== ")]
    *steps, collected = calls
    arms = {"method": {}} | ABLATIONS[name]
    assert len(steps) == 4 * len(arms)
    method = [settings_of(words) for words in steps[:4]]
    for index, (arm, differing) in enumerate(arms.items()):
        of_arm = [settings_of(words) for words in steps[4 * index : 4 * index + 4]]
        assert [settings.get("n_steps") for settings in of_arm] == ["300", None, "60", None]
        folder = f"{ROOT}/exps/" + (METHOD if arm == "method" else f"ablations/{name}/{arm}/mri_ct_s1_l0")
        assert {settings["path.log_dir"] for settings in of_arm} == {folder}
        for settings, wanted in zip(of_arm, method, strict=True):
            keys = (settings.keys() | wanted.keys()) - {"path.log_dir"}
            found = {key: settings.get(key) for key in keys if settings.get(key) != wanted.get(key)}
            assert found == {key: value for key, value in differing.items() if wanted.get(key, value) != value}
    searched = [f"{ROOT}/exps/mri_ct_s1_l0"] + [f"{ROOT}/exps/ablations/{name}"] * (len(arms) > 1)
    assert collected[1:] == [*searched, "--out", f"{ROOT}/exps/ablations/{name}"]


def test_each_of_several_experiments_runs_itself_alone(recorder: Path):
    done = run("superpixel_scale", recorder, EXPERIMENTS="mri_ct_s1_l0 mri_ct_s2_l0", EXPS="/e", STEPS="train")
    assert done.returncode == 0 and done.stderr == ""
    *calls, _ = [line.split("\0")[:-1] for line in done.stdout.splitlines() if not line.startswith("=== ")]
    assert all("--and" not in words for words in calls)
    found = [settings_of(words) for words in calls]
    small = "/e/ablations/superpixel_scale/small"
    assert [(own["path.log_dir"], own["exclude_cls_list"]) for own in found] == [
        ("/e/mri_ct_s1_l0/02_DenseCL_Medical", "[]"), ("/e/mri_ct_s2_l0/02_DenseCL_Medical", "[2,3]"),
        (f"{small}/mri_ct_s1_l0", "[]"), (f"{small}/mri_ct_s2_l0", "[2,3]"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        ([], {"DRY_RUN": "true"}, "DRY_RUN=true is not possible; give 1, or leave it out"),
        (["more"], {}, "the arm 'more' has no VARIABLE=value"),
        (["more steps=3"], {}, "'steps=3' in the arm 'more steps=3' is not of the form VARIABLE=value"),
        (["method NSTEP=3"], {}, "give the arm 'method NSTEP=3' another name"),
        ([], {"MODALITY": "xray"}, "correct EXPERIMENTS, STEPS or MODALITY"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_runs(arguments, environment, sentence, recorder: Path):
    done = run("superpixel_scale", recorder, *arguments, **environment)
    assert done.returncode == 2 and done.stdout == ""
    assert sentence in done.stderr and len(done.stderr.splitlines()) == 1
