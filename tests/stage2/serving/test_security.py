"""Who is let in: every route, every header that decides it, bodies and paths."""

import re

import pytest
from stage2.serving.served import ADDRESS, TOKEN, fill, serving

from Stage2.serving.security import POLICY, Access, hosts_of
from Stage2.serving.settings import Limits

COOKIE = {"authorization": "", "cookie": f"densemp-8000={TOKEN}"}
CHANGE = ("PUT", "/api/labels")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = fill(tmp_path_factory.mktemp("shared") / "scans")
    with serving(folder, limits=Limits(small=300, drawing=400)) as client:
        yield client


def ask(client, method: str, path: str, body: bytes = b'{"labels": []}', **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = client.request(method, path, content=body if method != "GET" else None, headers=named)
    if answer.status_code >= 400:
        assert list(answer.json()) == ["error"]
        assert "\n" not in answer.json()["error"]
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    return answer.status_code


def test_no_route_answers_without_the_token(shared):
    asked = set()
    for template, methods in shared.app.app.openapi()["paths"].items():
        path = re.sub(r"\{[^}]*\}", "x", template)
        for method in map(str.upper, methods):
            if (method, path) in {("GET", "/auth/"), ("POST", "/auth/token")}:
                continue
            asked.add(path)
            assert ask(shared, method, path, authorization="") == 401, (method, path)
            assert ask(shared, method, path, authorization=f"Bearer {TOKEN[:-1]}") == 401
    assert {"/", "/api/state", "/api/scans/x/drawing", "/info/", "/infer/x", "/logs/"} <= asked


def test_the_address_gives_a_cookie_that_no_other_site_sends(shared):
    answer = shared.get("/", params={"token": TOKEN}, headers={"authorization": ""}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    shared.cookies.clear()
    cookie = answer.headers["set-cookie"]
    assert cookie == f"densemp-8000={TOKEN}; HttpOnly; SameSite=Strict; Path=/"
    assert ask(shared, "GET", "/?token=wrong", authorization="") == 401
    assert ask(shared, "GET", "/?xtoken=wrong", authorization="") == 401
    assert ask(shared, "GET", "/api/state", **COOKIE) == 200
    assert ask(shared, "GET", "/api/state", authorization="", cookie=f"densemp-8001={TOKEN}") == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({**COOKIE, "origin": ADDRESS}, 200),
        ({**COOKIE, "origin": ADDRESS, "sec_fetch_site": "same-origin"}, 200),
        ({}, 200),  # a program with the token in a header
        (COOKIE, 403),
        ({**COOKIE, "origin": "http://127.0.0.1:8001"}, 403),
        ({**COOKIE, "origin": "https://127.0.0.1:8000"}, 403),
        ({**COOKIE, "origin": "null"}, 403),
        ({**COOKIE, "origin": "http://localhost:8000"}, 403),  # another name than the one asked
        ({**COOKIE, "origin": ADDRESS, "sec_fetch_site": "same-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1:8001"}, 421),
        ({"host": "127.0.0.1"}, 421),
        ({"host": "LOCALHOST:8000"}, 200),
    ],
)
def test_a_change_needs_our_host_and_our_origin(shared, headers, status):
    assert ask(shared, *CHANGE, **headers) == status


def test_bodies_are_bounded_with_and_without_a_length(shared):
    long = b'{"labels": [' + b" " * 300 + b"]}"
    assert ask(shared, *CHANGE, body=long) == 413

    def pieces():
        yield from (long[:200], long[200:])

    assert shared.put("/api/labels", content=pieces()).status_code == 413
    assert ask(shared, "PUT", "/api/scans/a/drawing", body=b"x" * 401) == 413
    assert ask(shared, "PUT", "/api/scans/a/drawing", body=b"x" * 399) == 422


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/..%2f..%2f..%2frequirements.txt",
     "/vendor/../../bin/python", "/api/scans/..%2f..%2fmask/image.nii.gz", "/api/scans/.workbench/image.nii.gz"],
)  # fmt: skip
def test_no_path_leads_outside(shared, path):
    answer = shared.get(path)
    assert answer.status_code in (404, 503)
    assert b"import" not in answer.content


def test_a_path_that_begins_with_the_token_is_for_clients_of_monai_label_alone(shared):
    without = {"authorization": ""}
    assert shared.get(f"/slicer/{TOKEN}/info/", headers=without).status_code == 200
    assert shared.get(f"/slicer/{TOKEN}/auth/", headers=without).json()["enabled"] is False
    assert shared.get(f"/slicer/{TOKEN[1:]}/info/", headers=without).status_code == 401
    assert shared.get(f"/slicer/{TOKEN}/api/state", headers=without).status_code == 401
    assert shared.get(f"/slicer/{TOKEN}/info/", headers={**without, "origin": "http://evil"}).status_code == 403


def test_read_only_changes_nothing(tmp_path):
    folder = fill(tmp_path / "scans")
    before = sorted(tmp_path.rglob("*"))
    with serving(folder, read_only=True) as client:
        assert client.get("/api/state").json()["read_only"] is True
        assert client.get("/api/scans/a/thumbnail.png").status_code == 200
        for method, path in (CHANGE, ("PUT", "/api/scans/a/drawing"), ("POST", "/api/jobs"), ("POST", "/train/")):
            assert ask(client, method, path) == 403
    assert sorted(tmp_path.rglob("*")) == before


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    folder = fill(tmp_path / "scans")
    outside = fill(tmp_path / "others")
    (folder / "b.nii.gz").unlink()
    (folder / "b.nii.gz").symlink_to(outside / "b.nii.gz")
    (folder / "d.nii.gz").symlink_to(folder / "c.nii.gz")
    (folder / "a_mask.nii.gz").symlink_to(tmp_path / "mask.nii.gz")
    with serving(folder) as client:
        scans = {scan["id"]: scan for scan in client.get("/api/state").json()["scans"]}
        assert "outside" in scans["b"]["error"]
        assert client.get("/api/scans/b/image.nii.gz").status_code == 409
        assert client.get("/api/scans/d/image.nii.gz").status_code == 200
        assert (scans["a"]["state"], client.get("/api/scans/a/drawing.nii.gz").status_code) == ("none", 404)
    moved = tmp_path / "moved"
    (folder / ".workbench").rename(moved)
    (folder / ".workbench").symlink_to(moved)
    with pytest.raises(ValueError, match="is a link out of the folder"), serving(folder):
        pass


def test_hosts():
    assert hosts_of(["::1", "Here"], 80) == {"[::1]:80", "here:80", "[::1]", "here"}
    access = Access("t" * 16, hosts_of(["here"], 8000), any_address=True, port=8000)
    assert [access.knows_host(host) for host in ("10.0.0.1:8000", "[fe80::1]:8000", "here:8000")] == [True] * 3
    assert [access.knows_host(host) for host in ("10.0.0.1:80", "evil:8000", "10.0.0.1", "")] == [False] * 4
    assert "t" * 16 not in repr(access)
