"""Quickstart beside stubs of the programs of its steps."""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STUB = """
import json, sys
from pathlib import Path
root = Path(__file__).resolve().parents[1]
settings = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
def note(text):
    with open(root / "calls.log", "a") as log:
        print(text, file=log)
def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
def new_run():
    from Stage2.datasets.catalog import run_name
    name = f"mySSL_{settings['exp_prefix']}_{run_name(settings['dataset'])}_sets_{settings['label_sets']}_1shot"
    folder = Path(settings["path.log_dir"]) / name
    return folder / str(1 + len(list(folder.glob("*"))))
"""
STUBS = {
    "tools/make_demo_data.py": """
note("demo " + sys.argv[3])
touch(Path(sys.argv[1]) / "CHAOS" / "CHAOS_Train_Sets.zip")
touch(Path(sys.argv[1]) / "ROCO" / "a.jpg")
""",
    "tools/prepare_data.py": """
command, folder = sys.argv[1], Path(sys.argv[2])
out = Path(sys.argv[sys.argv.index("--out") + 1] if "--out" in sys.argv else folder)
note(command)
if command == "roco":
    assert (folder / "a.jpg").is_file()
    touch(Path(sys.argv[3]) / "roco.json")
    touch(Path(sys.argv[3]) / "a.jpg")
if command == "chaos":
    assert folder.is_file()
    out = Path(sys.argv[3])
    for scan in range(1, 21):
        for kind in ("image", "label"):
            touch(out / f"{kind}_{scan}.nii.gz")
if command == "check":
    assert (out / "classmap_1.json").is_file()
if command in ("chaos", "superpixels"):
    touch(out / "classmap_1.json")
""",
    "tools/extract_backbone_weights.py": """
note("extract " + Path(sys.argv[1]).name)
touch(Path(sys.argv[2]))
""",
    "tools/visualize.py": """
note("draw " + sys.argv[1])
touch(Path(sys.argv[sys.argv.index("--out") + 1]))
""",
    "Stage2/training.py": """
note(f"train {settings['n_steps']} {settings['optim.lr']}")
touch(new_run() / "snapshots" / f"{settings['n_steps']}.pth")
""",
    "Stage2/finetuning.py": """
note(f"finetune {settings['n_steps']} {settings['optim.lr']} from {Path(settings['reload_model_path']).name}")
touch(new_run() / "snapshots" / f"{settings['n_steps']}.pth")
""",
    "Stage2/validation.py": """
snapshot = Path(settings.get("reload_model_path", "no snapshot")).name
note(f"test {snapshot}")
run = new_run()
run.mkdir(parents=True)
scores = dict(dice={"no snapshot": 0.125, "200.pth": 0.5}.get(snapshot, 0.75), precision=0.5, recall=0.5)
(run / "results.json").write_text(json.dumps(dict(
    protocol="paper", dataset="CHAOST2", fold=int(settings["eval_fold"]), label_set=0, exclude_classes=[],
    scans=[dict(scores, scan="1", label=2, z_min=1, z_max=2) | {"class": "RK"}],
    class_means=dict(RK=dict(scores, scans=1, undefined=0)), mean=scores,
)))
""",
}
SHELL_STUBS = {
    "tools/setup.sh": 'echo setup >>"$(dirname "$0")/../calls.log"\n',
    "tools/single_train.sh": """
echo "pretrain ${*:5}" | sed "s#data_root=.*/#data_root=#" >>"$(dirname "$0")/../calls.log"
mkdir -p "$3" && touch "$3/epoch_${6#*=}.pth"
""",
    ".venv/bin/python": f'exec "{sys.executable}" "$@"\n',
}


def make_repository(root: Path) -> Path:
    """Quickstart, the real driver, snapshot finder and table, and the stubs, in a folder of their own."""
    driver = ("run_experiment.sh", "published_settings.bash", "quickstart.sh", "shared.bash", "steps.bash")
    for name in (*(f"examples/{file}" for file in driver), "tools/run_folds.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    shutil.copy(ROOT / "tools" / "collect_results.py", root / "tools")
    for name, body in {**{name: STUB + body for name, body in STUBS.items()}, **SHELL_STUBS}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(body if name.endswith(".py") else "#!/usr/bin/env bash\nset -e\n" + body)
    (root / ".venv" / "bin" / "python").chmod(0o755)
    return root
