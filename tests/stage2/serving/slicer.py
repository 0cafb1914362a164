"""A client that speaks as 3D Slicer's MONAI Label module does: its paths, its forms, what it takes from answers.

Written from what that module sends: one boundary for every form, quoted names, JSON in the field `params` with a
client_id, the token from /auth/token in a header; it takes the first file of a multipart answer for the mask.
"""

import email
import email.policy
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

LIMIT = "----------lImIt_of_THE_fIle_eW_$"


class Slicer:
    """The module, by a test client that follows no cookies and knows no token."""

    def __init__(self, client, prefix: str = ""):
        self.client, self.prefix, self.headers = client, prefix, {"authorization": ""}

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str | None = None):
        headers = {**self.headers, **({} if kind is None else {"content-type": kind})}
        return self.client.request(method, self.prefix + path, content=body, headers=headers)

    def json(self, method: str, path: str, params: dict | None = None) -> Any:
        body = None if params is None else json.dumps({**params, "client_id": "user-xyz"}).encode()
        answer = self.ask(method, path, body, None if params is None else "application/json")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def sign_in(self, password: str) -> int:
        assert self.json("GET", "/auth/")["enabled"] is True
        form = urlencode({"username": "me", "password": password, "grant_type": "password"}).encode()
        answer = self.ask("POST", "/auth/token", form, "application/x-www-form-urlencoded")
        if answer.status_code == 200:
            own = answer.json()
            self.headers = {"authorization": f"{own['token_type']} {own['access_token']}"}
        return answer.status_code

    def form(self, method: str, path: str, params: dict, files: dict[str, Path]):
        lines = [f"--{LIMIT}".encode(), b'Content-Disposition: form-data; name="params"', b""]
        lines.append(json.dumps({**params, "client_id": "user-xyz"}).encode())
        for key, path_of_file in files.items():
            named = f'Content-Disposition: form-data; name="{key}"; filename="{path_of_file}"'
            lines += [f"--{LIMIT}".encode(), named.encode(), b"Content-Type: application/octet-stream", b""]
            lines.append(path_of_file.read_bytes())
        lines += [f"--{LIMIT}--".encode(), b""]
        return self.ask(method, path, b"\r\n".join(lines), f"multipart/form-data; boundary={LIMIT}")

    def infer(self, image: str, params: dict | None = None, session: str | None = None, output: str = "") -> tuple:
        path = f"/infer/densemp?image={quote_plus(image)}" + (f"&session_id={session}" if session else "") + output
        answer = self.form("POST", path, params or {}, {})
        assert answer.status_code == 200, answer.text
        head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
        parts = email.message_from_bytes(head + answer.content, policy=email.policy.HTTP).iter_parts()
        found = {part.get_param("name", header="content-disposition"): part for part in parts}
        assert found["params"].get_filename() is None
        return json.loads(found["params"].get_content()), found["file"].get_payload(decode=True)

    def save_label(self, image: str, label: Path, label_info: list[dict]) -> dict:
        path = f"/datastore/label?image={quote_plus(image)}"
        answer = self.form("PUT", path, {"label_info": label_info}, {"label": label})
        assert answer.status_code == 200, answer.text
        return answer.json()
