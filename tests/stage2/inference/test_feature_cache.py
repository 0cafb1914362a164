"""Features are computed once, and never wrongly taken for others."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from Stage2.inference.feature_cache import FeatureCache, FeatureMemory, default_cache, hash_of, mark_used, prune


def never() -> torch.Tensor:
    raise AssertionError("encoded again")


def test_what_is_kept_is_not_encoded_again(tmp_path):
    features = torch.randn(3, 2, 4, 4)
    cache = FeatureCache(tmp_path / "cache")
    assert torch.equal(cache.features("a", lambda: features), features)
    assert torch.equal(FeatureCache(tmp_path / "cache").features("a", never), features)
    with pytest.raises(AssertionError, match="encoded again"):
        cache.features("b", never)
    with pytest.raises(AssertionError, match="encoded again"):
        FeatureCache(None).features("a", never)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"\x80\x02}."])
def test_a_damaged_entry_is_made_anew(tmp_path, caplog, content):
    (tmp_path / "a.pth").write_bytes(content)
    features = torch.ones(1, 2, 4, 4)
    assert torch.equal(FeatureCache(tmp_path).features("a", lambda: features), features)
    assert "is damaged and made anew" in caplog.text
    assert torch.equal(FeatureCache(tmp_path).features("a", never), features)


def test_the_least_recently_used_go_first(tmp_path):
    cache = FeatureCache(tmp_path, most=2)
    for key in ("a", "b", "a", "c"):
        cache.features(key, lambda: torch.zeros(1, 1, 1, 1))
    assert {path.stem for path in tmp_path.iterdir()} == {"a", "c"}


def test_what_another_process_removes_meanwhile_is_no_error(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / f"{name}.pth").touch()
    glob = Path.glob

    def racing(folder, pattern):
        found = list(glob(folder, pattern))
        (tmp_path / "b.pth").unlink()
        return found

    monkeypatch.setattr(Path, "glob", racing)
    prune(tmp_path, "*.pth", most=2)
    assert {path.stem for path in tmp_path.iterdir()} == {"a", "c"}


def test_a_cache_that_is_only_read_is_no_obstacle(tmp_path, monkeypatch):
    FeatureCache(tmp_path).features("a", lambda: torch.zeros(1, 1, 1, 1))

    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.utime", refuse)
    assert FeatureCache(tmp_path).features("a", never).shape == (1, 1, 1, 1)
    mark_used(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path, caplog):
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        FeatureCache(tmp_path / "file").features("a", lambda: torch.zeros(1, 1, 1, 1))
    assert "features are not kept" in caplog.text


def test_hashes_tell_contents_apart():
    array = np.arange(6, dtype=np.float32)
    same = {hash_of("x", array), hash_of("x", array.copy()), hash_of("x", array.reshape(6))}
    assert len(same) == 1
    others = {hash_of("y", array), hash_of("x", array.reshape(2, 3)), hash_of("x", array.astype("f8")), hash_of("x")}
    assert len(others | same) == 5


def test_the_default_folder_follows_the_users_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "densemp" / "features"


def remembering(most_bytes: int) -> tuple[FeatureMemory, list[float]]:
    """A memory of volumes (1, 4) float32 -> (1, 4), 16 bytes each, and the first voxels of what was encoded."""
    encoded: list[float] = []

    def encode(slices: np.ndarray) -> torch.Tensor:
        encoded.append(float(slices[0, 0]))
        return torch.from_numpy(slices) * 2

    return FeatureMemory(encode, most_bytes), encoded


def test_a_volume_is_encoded_once_by_its_content():
    memory, encoded = remembering(100)
    first, other = np.full((1, 4), 1, np.float32), np.full((1, 4), 2, np.float32)
    for slices in (first, other, first.copy(), other):
        assert torch.equal(memory(slices), torch.from_numpy(slices) * 2)
    assert (encoded, memory.n_bytes) == ([1, 2], 32)


def test_the_least_recently_used_volume_is_forgotten_first():
    memory, encoded = remembering(40)
    volumes = [np.full((1, 4), value, np.float32) for value in range(3)]
    for place in (0, 1, 0, 2, 0, 1):
        memory(volumes[place])
        assert memory.n_bytes <= 40
    assert encoded == [0, 1, 2, 1]
    small, encoded = remembering(8)
    assert [small(volumes[1])[0, 0].item(), small(volumes[1])[0, 0].item()] == [2, 2]
    assert encoded == [1]  # what was just asked for stays
