"""`torchmg.convert` over random networks: shapes, undo, plans, budgets."""

import copy
import io
import json
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversion.drawn_networks import (
    SCHEMES,
    Drawn,
    converted,
    networks,
    run,
    state,
    unchanged,
)
from torchmg.conversion.convert import apply_plan, convert
from torchmg.conversion.regress import match
from torchmg.conversion.schemes import Scheme
from torchmg.errors import BudgetError, UsageError


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps of matching show what is asked here."""
    monkeypatch.setattr("torchmg.conversion.carry_out.match", partial(match, steps=4))


@settings(max_examples=30)
@given(networks(), SCHEMES, st.sampled_from(["project", "none"]))
def test_any_network_keeps_its_shape_and_comes_back_bit_for_bit(drawn: Drawn, scheme: Scheme, warm: Any) -> None:
    net, x = drawn
    y, before = run(net, x), state(net)
    modules, modes = dict(net.named_modules(remove_duplicate=False)), {m: m.training for m in net.modules()}
    if (done := converted(net, scheme, warm_start=warm)) is None:
        return
    new, report = done
    assert unchanged(net, modules, before)
    assert modes == {m: m.training for m in net.modules()}
    z = run(new, x)
    assert z.shape == y.shape
    assert bool(z.isfinite().all())
    assert sum(p.numel() for p in new.parameters()) == report.after.params < report.before.params
    assert new.training == net.training
    if warm == "project":
        assert all(0 <= change.fit_error <= 1 + 1e-6 for change in report.replaced)
    # A copy computes the same.
    assert torch.equal(run(copy.deepcopy(new), x), z)
    # The plan and the numbers are all there is to it: JSON and tensors.
    buffer = io.BytesIO()
    torch.save(new.state_dict(), buffer)
    buffer.seek(0)
    built = apply_plan(copy.deepcopy(net), json.loads(json.dumps(report.plan())))
    built.load_state_dict(torch.load(buffer, weights_only=True), strict=True)
    assert torch.equal(run(built, x), z)
    # And back.
    back = report.undo(new)
    assert torch.equal(run(back, x), y)
    assert back.state_dict().keys() == before.keys()
    with pytest.raises(UsageError):
        report.undo(back)


@settings(max_examples=15)
@given(networks(), SCHEMES)
def test_in_place_undo_brings_the_same_objects_back(drawn: Drawn, scheme: Scheme) -> None:
    net, x = drawn
    y, before = run(net, x), state(net)
    modules = dict(net.named_modules(remove_duplicate=False))
    drawn_next = torch.get_rng_state()
    dry = converted(net, scheme, dry_run=True)
    assert unchanged(net, modules, before)
    assert torch.equal(torch.get_rng_state(), drawn_next)
    done = converted(net, scheme, inplace=True)
    assert (dry is None) == (done is None)
    if dry is None or done is None:
        return
    assert dry[0] is net
    assert dry[1].plan() == done[1].plan()
    assert (dry[1].before, dry[1].after) == (done[1].before, done[1].after)
    assert done[0] is net
    assert not unchanged(net, modules, before)
    assert done[1].undo(net) is net
    assert unchanged(net, modules, before)
    assert torch.equal(run(net, x), y)


@settings(max_examples=12)
@given(networks(), SCHEMES, st.floats(1.2, 6))
def test_a_budget_is_kept_and_a_dry_run_foretells_it(drawn: Drawn, scheme: Scheme, ratio: float) -> None:
    net, x = drawn
    scheme = type(scheme)()
    limit = int(sum(p.numel() for p in net.parameters()) / ratio)
    for data in (None, [x]):
        try:
            _, dry = convert(net, scheme, ratio=ratio, data=data, dry_run=True, stem=True, head=True)
        except BudgetError as error:
            least = int(str(error).split("least that can be reached is ")[1].split(".")[0].replace(",", ""))
            assert least > limit
            if least < sum(p.numel() for p in net.parameters()):
                _, report = convert(net, scheme, max_params=least, stem=True, head=True)
                assert report.after.params == least
            continue
        except UsageError as error:
            assert "What matches" in str(error)  # noqa: PT017
            continue
        new, report = convert(net, scheme, ratio=ratio, data=data, stem=True, head=True)
        assert report.plan() == dry.plan()
        assert sum(p.numel() for p in new.parameters()) == report.after.params <= limit
        assert run(new, x).shape == run(net, x).shape
