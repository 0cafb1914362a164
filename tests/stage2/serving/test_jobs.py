"""The queue: one job at a time, cancelled or failed in one line, gone on with by the next server, told as it goes."""

import asyncio
import json

import pytest
from stage2.serving.served import draw, fill, job_ended, serving, until

from Stage2.inference.request import Preparation
from Stage2.serving.events import SECONDS_OF_SILENCE, WAITING, Events
from Stage2.serving.settings import Limits


@pytest.fixture
def drawn(client, folder):
    """The client of a folder with one example."""
    draw(client, folder)
    client.put("/api/scans/a/example", json={"example": True})
    return client


def states_of(client) -> list[tuple]:
    return [(own["id"], own["state"], own["approach"], own["next"]) for own in client.get("/api/state").json()["scans"]]


def post(client, **content) -> dict:
    answer = client.post("/api/jobs", json=content)
    assert answer.status_code == 202, answer.text
    return answer.json()


def plan_of(folder, job: dict) -> dict:
    return json.loads((folder / ".workbench" / "jobs" / job["id"] / "plan.json").read_text())


def test_a_preview_comes_before_a_network_and_a_network_goes_on(drawn, folder):
    job = post(drawn, kind="preview")
    assert (job["state"], job["scans"]) == ("queued", ["b", "c"])
    assert job_ended(drawn, job["id"])["done"] == ["b", "c"]
    assert states_of(drawn) == [
        ("a", "example", None, None), ("b", "segmented", "prototypes", 2), ("c", "segmented", "prototypes", 1)
    ]  # fmt: skip
    assert (folder / "b_mask.nii.gz").read_bytes() == (folder / ".workbench/preview/b_mask.nii.gz").read_bytes()
    plan = plan_of(folder, job)
    assert (plan["look"]["steps"], plan["adapt"], plan["network"]) == (1, None, None)

    job = post(drawn, kind="segment", minutes=2)
    assert job_ended(drawn, job["id"])["state"] == "done"
    assert [own[2] for own in states_of(drawn)] == [None, "adapted", "adapted"]
    assert drawn.get("/api/state").json()["network"] == {"ready": True, "examples": ["a"], "minutes": 0.5}
    first = plan_of(folder, job)["adapt"]
    assert (first["minutes"], first["start"], first["annotated"]) == (2, None, [None])

    job = post(drawn, kind="segment", scans=["c"])  # the examples are the same: segmented at once
    job_ended(drawn, job["id"])
    assert plan_of(folder, job)["adapt"] is None

    draw(drawn, folder, slices="0,1,2")  # the same voxels, but other slices count
    job = post(drawn, kind="segment", scans=["c"])
    job_ended(drawn, job["id"])
    first = plan_of(folder, job)["adapt"]
    assert first["annotated"] == [[0, 1, 2]]

    draw(drawn, folder, "b", slices="0,2")
    assert [own[1] for own in states_of(drawn)] == ["example", "corrected", "segmented"]
    drawn.put("/api/scans/b/example", json={"example": True})
    job = post(drawn, kind="segment")
    job_ended(drawn, job["id"])
    second = plan_of(folder, job)["adapt"]
    assert (second["start"], second["annotated"]) == (first["out"], [[0, 1, 2], [0, 2]])
    assert drawn.get("/api/state").json()["network"]["minutes"] == 1.5

    drawn.put("/api/scans/a/example", json={"example": False})
    job = post(drawn, kind="segment", scans=["c"])
    job_ended(drawn, job["id"])
    assert plan_of(folder, job)["adapt"]["start"] is None  # what it learned from is an example no more: begun anew


def test_one_job_runs_others_wait_and_any_can_be_cancelled(drawn, folder):
    (folder / "slow").touch()
    first, second = post(drawn, kind="segment"), post(drawn, kind="preview", scans=["c"])
    until(lambda: (drawn.get("/api/state").json()["job"] or {}).get("stage") == "prototypes")
    content = drawn.get("/api/state").json()
    assert (content["job"]["id"], [own["id"] for own in content["queue"]]) == (first["id"], [second["id"]])
    assert drawn.delete(f"/api/jobs/{second['id']}").json()["state"] == "cancelled"
    drawn.delete(f"/api/jobs/{first['id']}")
    assert job_ended(drawn, first["id"])["state"] == "cancelled"
    assert drawn.get("/api/state").json()["queue"] == []
    assert drawn.delete("/api/jobs/none").status_code == 404


def test_a_failed_job_says_why_and_what_cannot_be_asked_is_refused(drawn, folder):
    (folder / "bad").touch()
    assert job_ended(drawn, post(drawn, kind="segment")["id"])["error"] == "the examples are wrong; draw anew."
    for content, status in (
        ({"kind": "x"}, 422), ({"kind": "segment", "minutes": 0}, 422), ({"kind": "segment", "minutes": "1"}, 422),
        ({"kind": "segment", "scans": ["x"]}, 404), ({"kind": "segment", "scans": "a"}, 422), ({}, 422),
        ({"kind": "segment", "minutes": 1e9}, 422), ({"kind": "segment", "minutes": 10**400}, 422),
        ({"kind": "segment", "minutes": True}, 422),
    ):  # fmt: skip
        assert drawn.post("/api/jobs", json=content).status_code == status, content
    for path in ("/api/jobs", "/train/densemp"):
        for number in (b"NaN", b"1e999"):
            body = b'{"kind": "segment", "minutes": ' + number + b"}"
            assert drawn.post(path, content=body).status_code == 422
    assert drawn.post("/train/densemp", json={"minutes": 10**400}).status_code == 422


def test_another_preparation_is_learned_anew(folder):
    plans = []
    for axes in ("LAS", "LAS", "RAS"):
        with serving(folder, preparation=Preparation(axes=axes)) as client:
            draw(client, folder)
            client.put("/api/scans/a/example", json={"example": True})
            job = post(client, kind="segment")
            job_ended(client, job["id"])
            plans.append(plan_of(folder, job)["adapt"])
    assert [plan is not None for plan in plans] == [True, False, True]


def test_the_queue_is_bounded(tmp_path):
    folder = fill(tmp_path / "scans")
    with serving(folder, limits=Limits(queue=1)) as client:
        draw(client, folder)
        client.put("/api/scans/a/example", json={"example": True})
        (folder / "slow").touch()
        first = post(client, kind="preview")
        until(lambda: client.get("/api/state").json()["queue"] == [])
        post(client, kind="preview")
        assert client.post("/api/jobs", json={"kind": "preview"}).status_code == 429
        (folder / "slow").unlink()
        until(lambda: client.get("/api/state").json()["job"]["id"] != first["id"])


def test_a_stopped_server_s_job_goes_on_with_the_same_plan(folder):
    with serving(folder) as client:
        draw(client, folder)
        client.put("/api/scans/a/example", json={"example": True})
        (folder / "slow").touch()
        job = post(client, kind="segment")
        until(lambda: (client.get("/api/state").json()["job"] or {}).get("stage"))
        before = plan_of(folder, job)
    (folder / "slow").unlink()
    with serving(folder) as client:
        assert job_ended(client, job["id"])["state"] == "done"
        assert plan_of(folder, job) == before
        assert [own[1] for own in states_of(client)] == ["example", "segmented", "segmented"]


def test_events_tell_everybody_and_a_slow_listener_only_that_much_changed():
    async def run() -> None:
        events = Events()
        fast, slow = events.listen(), events.listen()
        assert [await anext(fast), await anext(slow)] == ["event: state\ndata: {}\n\n"] * 2
        events.tell("job", {"id": "1\n"})
        assert await anext(fast) == 'event: job\ndata: {"id": "1\\n"}\n\n'
        for number in range(WAITING + 1):
            events.tell("job", {"id": number})
        assert await anext(slow) == "event: state\ndata: {}\n\n"
        await slow.aclose()
        assert len(events) == 1
        events.close()
        assert [text async for text in fast] == []
        assert len(events) == 0

    assert SECONDS_OF_SILENCE == 15
    asyncio.run(run())
