"""Losses, matching and queue against loops of plain Python."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from Stage1.models.contrast import enqueue, feature_spread, gather_cells, info_nce, match_dense_keys


def unit(*shape, dim):
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=dim)


def dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("keys", [1, 7])
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_info_nce_equals_a_loop(queries, channels, keys, temperature):
    torch.manual_seed(queries * 100 + channels * 10 + keys)
    q, k, negatives = unit(queries, channels, dim=1), unit(queries, channels, dim=1), unit(channels, keys, dim=0)
    losses, correct = [], 0
    for i in range(queries):
        positive = math.exp(dot(q[i], k[i]) / temperature)
        others = [math.exp(dot(q[i], negatives[:, j]) / temperature) for j in range(keys)]
        losses.append(-math.log(positive / (positive + sum(others))))
        correct += positive > max(others)
    loss, accuracy = info_nce(q, k, negatives, temperature)
    assert loss.item() == pytest.approx(sum(losses) / queries, abs=1e-12)
    assert accuracy.item() == pytest.approx(correct / queries, abs=1e-12)


def plain_info_nce(queries, positives, negatives, temperature):
    """The same loss by cross-entropy, its gradient left to autograd."""
    logits = torch.cat([(queries * positives).sum(dim=1, keepdim=True), queries @ negatives], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(queries), dtype=torch.long))


@pytest.mark.parametrize("logits_at_once", [1, 21, 2**24])  # one query at a time, three, all
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_info_nce_and_its_gradient_equal_cross_entropy(monkeypatch, logits_at_once, scale):
    monkeypatch.setattr("Stage1.models.contrast.LOGITS_AT_ONCE", logits_at_once)
    torch.manual_seed(0)
    k, negatives = unit(8, 4, dim=1), unit(4, 7, dim=0)
    ours = unit(8, 4, dim=1).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    # A scaled loss, as with half precision, and a loss that is one of several terms.
    loss, _ = info_nce(ours, k, negatives, 0.2)
    ((0.5 * loss + ours.sum()) * scale).backward()
    expected = plain_info_nce(theirs, k, negatives, 0.2)
    ((0.5 * expected + theirs.sum()) * scale).backward()
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-9)


def test_info_nce_does_not_overflow_at_a_low_temperature():
    q = unit(4, 8, dim=1).float()
    loss, accuracy = info_nce(q, -q, q.T, 1e-3)  # the worst case: the positive is opposite, a negative is equal
    assert loss.item() == pytest.approx(2000, rel=1e-3)
    assert accuracy.item() == 0


def test_negatives_may_change_before_the_backward_pass():
    q, k, negatives = unit(3, 4, dim=1).requires_grad_(), unit(3, 4, dim=1), unit(4, 7, dim=0)
    loss, _ = info_nce(q, k, negatives, 0.2)
    negatives.zero_()
    loss.backward()
    gradient = q.grad.clone()
    assert gradient.abs().sum() > 0
    assert not gradient.isnan().any()


def test_feature_spread_tells_healthy_features_from_collapsed_ones():
    rows = unit(500, 128, dim=1)
    expected = sum(math.sqrt(sum((x - c.mean().item()) ** 2 for x in c.tolist()) / 500) for c in rows.T) / 128
    assert feature_spread(rows).item() == pytest.approx(expected, abs=1e-12)
    assert feature_spread(rows).item() == pytest.approx(1 / math.sqrt(128), rel=0.02)
    assert feature_spread(rows[:1].expand(500, -1)).item() == pytest.approx(0, abs=1e-12)
    assert feature_spread(rows[:1]).item() == 0


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("query_cells", [1, 4, 9])
@pytest.mark.parametrize("key_cells", [1, 4, 6])
def test_matching_equals_a_loop(images, channels, query_cells, key_cells):
    torch.manual_seed(images + channels + query_cells + key_cells)
    q, k = unit(images, channels, query_cells, dim=1), unit(images, channels, key_cells, dim=1)
    expected = [
        [max(range(key_cells), key=lambda j, n=n, i=i: dot(q[n, :, i], k[n, :, j])) for i in range(query_cells)]
        for n in range(images)
    ]
    cells = match_dense_keys(q, k)
    assert cells.tolist() == expected
    picked = gather_cells(k, cells)
    for n in range(images):
        for i in range(query_cells):
            assert torch.equal(picked[n, :, i], k[n, :, expected[n][i]])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
def test_a_permuted_key_grid_permutes_the_matches(seed, images, query_cells, key_cells):
    torch.manual_seed(seed)
    q, k = unit(images, 6, query_cells, dim=1), unit(images, 6, key_cells, dim=1)
    order = torch.randperm(key_cells)
    assert torch.equal(order[match_dense_keys(q, k[:, :, order])], match_dense_keys(q, k))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 8))
def test_permuted_negatives_leave_the_loss(seed, keys):
    torch.manual_seed(seed)
    q, k, negatives = unit(3, 4, dim=1), unit(3, 4, dim=1), unit(4, keys, dim=0)
    permuted = negatives[:, torch.randperm(keys)]
    assert info_nce(q, k, permuted, 0.2)[0].item() == pytest.approx(info_nce(q, k, negatives, 0.2)[0].item(), abs=1e-12)


@pytest.mark.parametrize(("length", "batch", "batches"), [(6, 2, 2), (6, 2, 3), (6, 2, 5), (4, 4, 3), (3, 1, 8)])
def test_queue_is_first_in_first_out(length, batch, batches):
    queue, pointer = torch.full((2, length), -1.0), torch.zeros(1, dtype=torch.long)
    slots, position = [-1.0] * length, 0
    for number in range(batches):
        keys = torch.arange(number * batch, (number + 1) * batch, dtype=torch.float32)
        enqueue(queue, pointer, torch.stack([keys, keys + 100], dim=1))
        for key in keys.tolist():
            slots[position] = key
            position = (position + 1) % length
        assert queue[0].tolist() == slots
        assert queue[1].tolist() == [-1.0 if slot == -1 else slot + 100 for slot in slots]
        assert pointer.item() == position


def test_a_batch_that_does_not_divide_the_queue_is_refused():
    queue, pointer = torch.zeros(2, 10), torch.zeros(1, dtype=torch.long)
    with pytest.raises(ValueError, match=r"queue of 10 keys and 4 images.*queue_length to a multiple of 4"):
        enqueue(queue, pointer, torch.ones(4, 2))
    assert queue.sum() == 0
    assert pointer.item() == 0
