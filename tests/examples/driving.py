"""The driver beside stub entry points, which leave run folders as the real ones do."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STUB = """
import ast, json, os, signal, sys, time
from pathlib import Path
root = Path(__file__).resolve().parents[1]
settings = dict(word.split("=", 1) for word in sys.argv[2:])
fold = settings["eval_fold"]
def note(text):
    with open(root / "calls.log", "a") as log:
        print(text, file=log)
name = f"mySSL_{settings['exp_prefix']}_{settings['dataset']}_sets_{settings['label_sets']}_1shot"
folder = Path(settings["path.log_dir"]) / name
run = folder / str(1 + len(list(folder.glob("*"))))
run.mkdir(parents=True)
config = {}
for key, value in settings.items():
    try:
        value = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        pass
    group, _, key = key.rpartition(".")
    (config.setdefault(group, {}) if group else config)[key] = value
(run / "config.json").write_text(json.dumps(config))
def keep(step):
    (run / "snapshots").mkdir(exist_ok=True)
    (run / "snapshots" / f"{step}.pth").touch()
    (run / "training_state.pth").touch()
def stop(number, frame):
    keep(1)
    note(f"stopped {fold}")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
wishes = json.loads((root / "wishes.json").read_text()) if (root / "wishes.json").is_file() else {}
note(f"begin {fold} gpu={os.environ.get('CUDA_VISIBLE_DEVICES')} resume={settings.get('resume')}")
print(f"fold {fold} at work")
while fold in wishes.get("after", {}) and wishes["after"][fold] not in (root / "calls.log").read_text():
    time.sleep(0.02)
time.sleep(wishes.get("seconds", {}).get(fold, 0))
if fold in wishes.get("fail", []):
    print("10%|#", end="\\r")
    print("error: no memory", file=sys.stderr)
    sys.exit(3)
if Path(__file__).stem == "validation":
    snapshot = settings["reload_model_path"]
    dice = wishes.get("dice", {}).get(Path(snapshot).stem, 0.5)
    results = dict(protocol="paper", snapshot=snapshot, mean=dict(dice=dice))
    (run / "results.json").write_text(json.dumps(results))
else:
    every = int(settings["save_snapshot_every"])
    for step in range(every, int(settings["n_steps"]) + 1, every):
        keep(step)
note(f"end {fold}")
"""


def make_repository(root: Path) -> Path:
    """The driver and the stubs in a folder of their own."""
    scripts = [f"examples/{name}" for name in ("run_experiment.sh", "shared.bash", "published_settings.bash")]
    for name in (*scripts, "tools/run_folds.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for entry in ("training", "finetuning", "validation"):
        (root / "Stage2").mkdir(exist_ok=True)
        (root / "Stage2" / f"{entry}.py").write_text(STUB)
    return root


def bash(repository: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    """The driver as a process, on label set 0 of MR."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    given = {"DATASET": "CHAOST2_Superpix", "LABEL_SETS": "0", "LOGDIR": str(repository / "exps"), "NSTEP": "10"}
    return subprocess.Popen(
        ["bash", str(repository / "examples" / "run_experiment.sh"), *arguments],
        env=kept | {"PYTHON": sys.executable, "SNAPSHOT_INTERVAL": "5"} | given | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore Ctrl-C
    )


def wait_for(ready):
    deadline = time.monotonic() + 20
    while not (answer := ready()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer
