"""How MMEngine's runner writes checkpoints."""

from Stage1.runs.storage import AtomicLocalBackend


def test_mmengine_writes_through_a_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "new" / "epoch_1.pth"
    seen = []
    replace = type(path).replace
    monkeypatch.setattr(
        type(path), "replace", lambda self, target: seen.append((self.read_bytes(), target)) or replace(self, target)
    )
    AtomicLocalBackend().put(b"content", path)
    assert seen == [(b"content", path)]
    assert path.read_bytes() == b"content"
    assert len(list(path.parent.iterdir())) == 1
