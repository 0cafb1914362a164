"""Features are computed once, and never wrongly taken for others."""

import logging

import numpy as np
import pytest
import torch

from Stage2.inference.feature_cache import FeatureCache, default_cache, hash_of


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
