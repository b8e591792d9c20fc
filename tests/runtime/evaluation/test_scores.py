"""Our statistics against scipy's, and against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fungi_onnx.evaluation import Share, macro_recall, mcnemar, recall_at_k
from fungi_onnx.evaluation.scores import MISSED, Confusion, by_class, confusions, rank_of


def test_ranks_with_ties_in_the_order_of_the_ids() -> None:
    row = np.array([0.1, 0.3, 0.3, 0.2, 0.1], np.float32)
    assert [rank_of(truth, row) for truth in range(5)] == [3, 0, 1, 2, 4]
    assert rank_of(-1, row) == MISSED


def test_recall_by_hand() -> None:
    ranks = np.array([0, 0, 4, 5, 9, 10, MISSED])
    assert recall_at_k(ranks, 1) == Share(2, 7)
    assert recall_at_k(ranks, 5) == Share(3, 7)
    assert recall_at_k(ranks, 10) == Share(5, 7)
    assert recall_at_k(ranks, 5000) == Share(6, 7)  # what the model does not have stays missed
    assert recall_at_k(ranks, 5).value == 3 / 7
    assert np.isnan(recall_at_k(np.array([], np.int64), 1).value)


@pytest.mark.parametrize(("hits", "of"), [(0, 7), (1, 1), (7, 7), (155, 412), (3, 100_000)])
def test_wilsons_interval_is_scipys(hits: int, of: int) -> None:
    low, high = stats.binomtest(hits, of).proportion_ci(0.95, "wilson")
    assert Share(hits, of).interval == pytest.approx((low, high), rel=1e-9, abs=1e-12)


def test_the_mean_of_classes_and_its_interval() -> None:
    """Two classes, one frequent and always found, one rare and found by half."""
    truth = np.repeat([7, 3], [900, 100])
    hits = np.concatenate([np.ones(900, bool), np.arange(100) % 2 == 0])
    value, low, high = macro_recall(truth, hits)
    assert value == 0.75
    # The half's standard error is 0.05, in the mean 0.025.
    assert (low, high) == pytest.approx((0.75 - 1.96 * 0.025, 0.75 + 1.96 * 0.025), abs=0.006)
    found = stats.bootstrap(
        (np.arange(1000),),
        lambda chosen: np.mean([hits[chosen][truth[chosen] == one].mean() for one in (3, 7)]),
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert (low, high) == pytest.approx((found.low, found.high), abs=0.006)
    assert macro_recall(truth, hits) == (value, low, high)  # the same each time


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (9, 12), (3, 30), (40, 40)])
def test_mcnemars_test_is_scipys_binomial_one(first: int, second: int) -> None:
    one = np.repeat([True, False, True, False], [first, second, 50, 20])
    other = np.repeat([False, True, True, False], [first, second, 50, 20])
    found = mcnemar(one, other)
    assert (found.only_first, found.only_second) == (first, second)
    p = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert found.p == pytest.approx(p, rel=1e-9)


def test_which_class_is_taken_for_which() -> None:
    truth = np.array([1, 1, 1, 2, 2, 3, -1])
    answers = np.array([2, 2, 1, 5, 1, 3, 4])
    assert confusions(truth, answers) == [
        Confusion(1, 2, 2),
        Confusion(2, 1, 1),
        Confusion(2, 5, 1),
    ]
    assert confusions(truth[5:6], answers[5:6]) == []


def test_each_class_by_hand() -> None:
    truth = np.array([1, 1, 1, 4, 4, -1])
    ranks = np.array([0, 3, 20, 0, 0, MISSED])
    answers = np.array([1, 4, 4, 4, 4, 1])
    one, four = by_class(truth, ranks, answers, (1, 5, 10))
    assert (one.id, one.photos, one.answers, one.right, one.mistaken_for) == (1, 3, 2, 1, 4)
    assert one.recall == {1: Share(1, 3), 5: Share(2, 3), 10: Share(2, 3)}
    assert (four.id, four.photos, four.answers, four.right) == (4, 2, 4, 2)
    assert four.mistaken_for is None
