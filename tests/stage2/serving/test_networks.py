"""Which network is in use, and which files are removed: never one of another program or workbench."""

import os

from stage2.serving.served import draw, job_ended, serving

from Stage2.serving.networks import KEPT, Network, Networks


def test_the_last_own_network_is_used_and_only_own_ones_are_removed(tmp_path):
    folder = tmp_path / "shared"
    networks, other = (Networks(folder, tmp_path / name) for name in ("one.json", "other.json"))
    assert networks.current() is None
    folder.mkdir()
    for place, name in enumerate(("old", "new", ".half")):
        (folder / f"{name}.safetensors").touch()
        os.utime(folder / f"{name}.safetensors", (place, place))
    assert networks.current() == Network(folder / "new.safetensors", {}, 0.0)
    for number in range(KEPT + 2):
        file = networks.file_for(f"{number}")
        file.touch()
        os.utime(file, (10 + number, 10 + number))
        networks.take(Network(file, {"a": "hash"}, number))
    assert networks.current() == Network(file, {"a": "hash"}, KEPT + 1)
    assert other.current() == Network(file, {}, 0.0)  # of examples that another folder has, nothing is known
    left = {path.name.removesuffix(".safetensors") for path in folder.glob("*.safetensors")}
    assert left == {"old", "new", ".half", *(f"job-{number}" for number in range(2, KEPT + 2))}
    for name in ("job-9.safetensors", ".job-9.state.pth"):
        (folder / name).touch()
    networks.discard("9")  # cancelled
    networks.discard("6")  # in use
    assert networks.current().file == file
    assert not list(folder.glob("*job-9*"))
    (tmp_path / "one.json").write_text('{"file": "../x.safetensors"}')
    assert networks.current().examples == {}
    file.unlink()
    assert networks.current().file.name == "job-5.safetensors"


def test_a_folder_of_networks_segments_without_an_example(folder, tmp_path):
    given = tmp_path / "networks" / "mine.safetensors"
    given.parent.mkdir()
    given.write_bytes(b"network")
    with serving(folder, adapted=given.parent) as client:
        draw(client, folder)
        job = client.post("/api/jobs", json={"kind": "segment", "scans": ["b"]})
        assert job_ended(client, job.json()["id"])["state"] == "done"
        assert client.get("/api/state").json()["network"] == {"ready": True, "examples": [], "minutes": 0.0}
        client.put("/api/scans/a/example", json={"example": True})
        job = client.post("/api/jobs", json={"kind": "segment"}).json()["id"]
        assert job_ended(client, job)["state"] == "done"
        plan = (folder / ".workbench" / "jobs" / job / "plan.json").read_text()
        assert f'"start": "{given}"' in plan
    assert given.read_bytes() == b"network"
    assert (given.parent / f"job-{job}.safetensors").is_file()
