"""Choosing settings within a budget: against brute force, a linear program, and its own promises."""

import time
from math import fsum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import csr_matrix

from torchmg.conversion import knapsack
from torchmg.conversion.budget import Choice, Measure, best_uniform, choose, minimum, total
from torchmg.errors import BudgetError, UsageError

Menus = list[list[Choice]]

# Few distinct values, so that ties, dominated choices and exact fits are common.
costs = st.integers(0, 12) | st.integers(0, 10**12)
losses = st.integers(0, 6).map(float) | st.floats(0, 10, allow_subnormal=False)
choices = st.builds(Choice, params=costs, macs=costs, loss=losses, label=st.sampled_from("abc"))
all_menus = st.lists(st.lists(choices, min_size=1, max_size=5), max_size=5)


def brute_force(menus: Menus, limit: int, by: Measure, fixed: int) -> float:
    """The smallest loss of all selections within the limit."""
    cost, loss = np.array([fixed]), np.zeros(1)
    for menu in menus:
        cost = np.add.outer(cost, [choice.cost(by) for choice in menu]).ravel()
        loss = np.add.outer(loss, [choice.loss for choice in menu]).ravel()
    return float(loss[cost <= limit].min())


def assert_maximal(menus: Menus, picks: list[int], limit: int, by: Measure, fixed: int) -> None:
    cost = total(menus, picks, by, fixed).cost
    for menu, pick in zip(menus, picks, strict=True):
        for other in menu:
            if other.loss < menu[pick].loss:
                assert cost - menu[pick].cost(by) + other.cost(by) > limit


def uniform_by_definition(menus: Menus, limit: int, by: Measure, fixed: int) -> float | None:
    found: list[float] = []
    for label in {choice.label for menu in menus for choice in menu}:
        taken = [next((choice for choice in menu if choice.label == label), menu[-1]) for menu in menus]
        if fixed + sum(choice.cost(by) for choice in taken) <= limit:
            found.append(fsum(choice.loss for choice in taken))
    return min(found, default=None)


@given(all_menus, st.sampled_from(["params", "macs"]), st.integers(0, 30), st.floats(0, 1.1))
def test_choice_is_optimal_maximal_and_within_the_limit(menus: Menus, by: Measure, fixed: int, share: float):
    least = minimum(menus, by, fixed)
    most = fixed + sum(max(choice.cost(by) for choice in menu) for menu in menus)
    limit = least + int(share * (most - least))
    picks = choose(menus, limit, by=by, fixed=fixed)
    found = total(menus, picks, by, fixed)
    assert found.cost <= limit
    assert found.loss <= brute_force(menus, limit, by, fixed) * (1 + 1e-9) + 1e-12
    assert_maximal(menus, picks, limit, by, fixed)

    uniform = best_uniform(menus, limit, by, fixed)
    if menus:
        expected = uniform_by_definition(menus, limit, by, fixed)
        assert (uniform is None) == (expected is None)
        if uniform is not None:
            assert total(menus, uniform, by, fixed).cost <= limit
            assert total(menus, uniform, by, fixed).loss == expected
            assert found.loss <= total(menus, uniform, by, fixed).loss


@given(all_menus, st.floats(0, 1))
def test_a_search_cut_short_keeps_every_promise_but_optimality(menus: Menus, share: float):
    least = minimum(menus)
    limit = least + int(share * (sum(max(choice.params for choice in menu) for menu in menus) - least))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knapsack, "MAX_WORK", 1)
        picks = choose(menus, limit)
    found = total(menus, picks)
    assert found.cost <= limit
    assert_maximal(menus, picks, limit, "params", 0)
    if (uniform := best_uniform(menus, limit)) is not None:
        assert found.loss <= total(menus, uniform).loss


def network(sites: int, settings: int, kind: str, seed: int = 0) -> Menus:
    """Menus like those of a network: sites of very different size, losses that fall with the cost."""
    rng = np.random.default_rng(seed)
    menus: Menus = []
    for _ in range(sites):
        dense = int(rng.integers(1_000, 2_000_000))
        shares = rng.uniform(0.01, 0.95, settings - 1)
        noise = rng.uniform(1, 1.2, settings - 1)
        falling = {
            "convex": (1 - shares) ** 2 * noise,
            "random": rng.lognormal(size=settings - 1),
            "linear": 1 - shares,
            "concave": 1 - shares**3,
        }[kind]
        menu = [
            Choice(int(dense * share), int(dense * share) * 49, float(loss) * dense / 1e6, label)
            for label, (share, loss) in enumerate(zip(shares, falling, strict=True))
        ]
        menus.append([*menu, Choice(dense, dense * 49, 0.0, "dense")])
    return menus


def linear_bound(menus: Menus, limit: int) -> float:
    flat = [(site, choice) for site, menu in enumerate(menus) for choice in menu]
    one_per_site = csr_matrix((np.ones(len(flat)), ([site for site, _ in flat], range(len(flat)))))
    solved = linprog(
        [choice.loss for _, choice in flat],
        A_ub=[[choice.params / 1e6 for _, choice in flat]],
        b_ub=[limit / 1e6],
        A_eq=one_per_site,
        b_eq=np.ones(len(menus)),
    )
    assert solved.success
    return solved.fun


@pytest.mark.parametrize("kind", ["convex", "random", "linear", "concave"])
def test_small_networks_get_the_optimum_where_raises_alone_do_not(kind: str):
    beaten = 0
    for seed in range(20):
        menus = network(6, 4, kind, seed)
        least, dense = minimum(menus), sum(menu[-1].params for menu in menus)
        limit = least + (dense - least) * (seed + 1) // 22
        optimum = brute_force(menus, limit, "params", 0)
        assert total(menus, choose(menus, limit)).loss == pytest.approx(optimum, rel=1e-9)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(knapsack, "_search", lambda *_: None)
            beaten += total(menus, choose(menus, limit)).loss > 1.0001 * optimum
    # Otherwise this would not test the search.
    assert beaten >= 3


@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("kind", ["convex", "random", "linear", "concave"])
def test_many_sites_come_close_to_the_linear_bound_in_bounded_work(kind: str, share: float):
    menus = network(200, 30, kind)
    least, dense = minimum(menus), sum(menu[-1].params for menu in menus)
    limit = least + int(share * (dense - least))
    began = time.process_time()
    picks = choose(menus, limit)
    # It is below one second on an idle core; the test allows for a loaded one.
    assert time.process_time() - began < 5
    assert picks == choose(menus, limit)
    assert_maximal(menus, picks, limit, "params", 0)
    found, bound = total(menus, picks), linear_bound(menus, limit)
    assert found.cost <= limit
    assert found.loss <= 1.001 * bound
    assert found.loss >= bound * (1 - 1e-6)


def test_ties_go_to_the_lower_index_and_the_cheaper_choice():
    same = Choice(5, 5, 1.0, "a")
    assert choose([[same, same], [same, same]], 10) == [0, 0]
    # Only one of two equal sites can be raised.
    low, high = Choice(1, 1, 2.0, "low"), Choice(2, 2, 1.0, "high")
    assert choose([[low, high], [low, high]], 3) == [1, 0]
    # Room that buys nothing is not spent.
    assert choose([[Choice(9, 9, 0.0, "dense"), Choice(4, 4, 0.0, "free")]], 100) == [1]


def test_parameters_and_operations_are_budgets_of_their_own():
    menu = [Choice(1, 100, 1.0, "few parameters"), Choice(100, 1, 2.0, "few operations"), Choice(200, 200, 0.0, None)]
    assert choose([menu], 50, by="params") == [0]
    assert choose([menu], 50, by="macs") == [1]
    assert total([menu], [2], "macs", fixed=7) == (207, 0.0)
    assert choose([], 3, fixed=3) == []
    assert best_uniform([], 3, fixed=4) is None


def test_a_site_without_the_label_keeps_its_last_choice():
    menus = [[Choice(1, 1, 3.0, "a"), Choice(9, 9, 0.0, "dense")], [Choice(2, 2, 1.0, "b"), Choice(9, 9, 0.0, "dense")]]
    assert best_uniform(menus, 11) == [1, 0]
    assert best_uniform(menus, 10) == [0, 1]
    assert best_uniform(menus, 9) is None


def test_a_limit_that_nothing_meets_says_what_can_be_reached():
    menus = [[Choice(1_000, 1, 1.0, "a"), Choice(5_000, 5, 0.0, "dense")], [Choice(200, 1, 0.0, "dense")]]
    assert choose(menus, 2_700, fixed=1_500) == [0, 0]
    with pytest.raises(BudgetError, match=r"2,699 params: the least .* is 2,700.* 1,500 are fixed.* site 0: 1,000"):
        choose(menus, 2_699, fixed=1_500)
    with pytest.raises(BudgetError, match="Raise the limit to 2,700 or put more layers up for choice"):
        choose(menus, 1_000, fixed=1_500)
    with pytest.raises(BudgetError, match="least that can be reached is 5"):
        choose([], 4, fixed=5)


@pytest.mark.parametrize(
    ("menus", "by", "fixed", "message"),
    [
        ([[Choice(1, 1, 0.0, "a")], []], "params", 0, "menu of site 1 is empty"),
        ([[Choice(1, -1, 0.0, "a")]], "macs", 0, "Choice 0 of site 0 has -1 macs"),
        ([[Choice(1, 1, float("nan"), "a")]], "params", 0, "has the loss nan"),
        ([[Choice(1, 1, -0.5, "a")]], "params", 0, "has the loss -0.5"),
        ([], "bytes", 0, "'params' or 'macs', not 'bytes'"),
        ([], "params", -1, "fixed cost is -1"),
    ],
)
def test_malformed_menus_are_named(menus: Menus, by: Measure, fixed: int, message: str):
    for call in (lambda: choose(menus, 10, by=by, fixed=fixed), lambda: best_uniform(menus, 10, by, fixed)):
        with pytest.raises(UsageError, match=message):
            call()


def test_totals_check_their_picks():
    menus = [[Choice(1, 1, 0.0, "a")]]
    with pytest.raises(UsageError, match="2 picks for 1 menus"):
        total(menus, [0, 0])
    with pytest.raises(UsageError, match="Pick 1 of site 0 is outside its menu"):
        total(menus, [1])
