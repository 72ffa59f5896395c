"""`torchmg.convert`: dense layers and blocks of any network become multigrid ones, within a budget."""

import copy
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import floor
from typing import Any, Literal, get_args

from torch import nn

from torchmg.conversion.budget import Choice, choose, minimum
from torchmg.conversion.carry_out import carry_out
from torchmg.conversion.menu import Losses, menu
from torchmg.conversion.messages import multigrid_in, nothing_matched
from torchmg.conversion.observe import Inputs, Seen, is_meta, macs_of, observe, undisturbed
from torchmg.conversion.plan import changes_of
from torchmg.conversion.refusals import Skip
from torchmg.conversion.regress import batches_of
from torchmg.conversion.report import Change, Report
from torchmg.conversion.schemes import MGIC, Scheme
from torchmg.conversion.sites import Site, Where, find_sites
from torchmg.conversion.surgery import replace_modules
from torchmg.conversion.units import Cost, build, cost, dense_cost, ghost, refusal, width_of
from torchmg.errors import BudgetError, HierarchyWarning, TorchmgError, UsageError
from torchmg.hierarchy import check_choice

WarmStart = Literal["project", "match", "none"]
"""First weights of what is put in. `project`: the nearest to the dense weights. `match`: then regressed to the dense
outputs on `data`. `none`: drawn anew."""


def convert(
    model: nn.Module,
    scheme: Scheme | None = None,
    *,
    where: Where | None = None,
    max_params: int | None = None,
    max_macs: int | None = None,
    ratio: float | None = None,
    warm_start: WarmStart = "project",
    data: Iterable[Any] | None = None,
    example_input: Inputs | None = None,
    stem: bool = False,
    head: bool = False,
    inplace: bool = False,
    dry_run: bool = False,
) -> tuple[nn.Module, Report]:
    """Convert the dense layers and residual blocks of a network, starting from its trained weights.

    Layers and blocks are found by their types and shapes. What cannot be converted is left alone, with the reason in
    the report. Modules that are used twice stay shared; hooks, mode, device, dtype, memory format and freezing survive.

    Args:
        model: any network, on any device; on the meta device nothing is fitted.
        scheme: what to convert into, `MGIC()` by default; with sizes, or without and a budget, which then chooses them
            for every layer and block so that the estimated loss is smallest, and may leave some dense.
        where: (name, module) -> whether it may be converted.
        max_params: most unique parameters of the whole network.
        max_macs: most MACs of a sample; needs `example_input`.
        ratio: most parameters as a factor: 4 means at most a quarter of what the network has. One of these three, or
            none.
        warm_start: see `WarmStart`.
        data: batches without labels, see `batches_of`. `match` needs them. With them `project` fits layer after layer
            to what reaches it (`project_in_order`), batch norms get new statistics, the budget weighs every layer by
            what its error does to the network's output, and the report has output errors.
        example_input: what the network takes: a tensor, a tuple of arguments or a dict of keyword arguments. With it
            MACs are reported. By default the first of `data`.
        stem: convert also what reads the network's input.
        head: convert also its classifier.
        inplace: change `model` itself instead of a copy.
        dry_run: only report; the model comes back as it is.

    Returns:
        The converted network, and the report, whose `undo` puts everything back.

    Raises:
        UsageError: nothing that could be converted, more than one budget, `match` without data.
        BudgetError: a budget below what the smallest sizes need; the message says what can be reached.
        ShapeError: the network does not run on `example_input`.
        DivergedError: outputs on `data` that are not finite; the network is as it was.
    """
    scheme = MGIC() if scheme is None else scheme
    check_choice("warm_start", warm_start, get_args(WarmStart))
    batches = None if data is None else batches_of(data)
    if batches is not None and example_input is None:
        example_input = batches[0]
    _check_request(model, scheme, (max_params, max_macs, ratio), warm_start, batches, example_input)
    if is_meta(model):
        batches = None  # there are no values to fit
    if isinstance(scheme, MGIC) and scheme.blocks is None:
        scheme = replace(scheme, blocks=warm_start != "project")
    blocks = isinstance(scheme, MGIC) and bool(scheme.blocks)
    sites, skipped = find_sites(model, blocks=blocks, where=where, stem=stem, head=head)
    sites, refused = _partition(model, sites, scheme)
    skipped = [*skipped, *refused]
    if not sites:
        raise UsageError(nothing_matched(skipped, ours=multigrid_in(model)))
    seen = {} if example_input is None else observe(model, {site.path: _axis(site) for site in sites}, example_input)
    whole = _whole(model, example_input)
    limit, by = _limit(whole, max_params, max_macs, ratio)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierarchyWarning)  # widths that halve badly are a matter of the budget here
        if limit is None:
            changes = _fixed(model, sites, scheme.fixed, seen)
        else:
            with undisturbed(model):
                changes = _within(model, sites, scheme, seen, Losses(model, batches), whole, limit, by)
        kept = [change for change in changes if change.after.params < change.before.params or change.scheme is None]
        skipped += [_no_smaller(model, change) for change in changes if change not in kept]
        if not any(change.scheme for change in kept):
            nothing = nothing_matched(skipped, sites, ours=multigrid_in(model))
            raise UsageError(nothing if limit is None else _needless(whole, limit, by))
        after = Cost(
            whole.params + sum(c.after.params - c.before.params for c in kept),
            whole.macs + sum(c.after.macs - c.before.macs for c in kept) if whole.macs else 0,
        )
        report = Report(type(model).__name__, tuple(kept), tuple(skipped), whole, after, warm_start, dry_run)
        if dry_run:
            return model, report
        return carry_out(model, report, batches, inplace)


def apply_plan(model: nn.Module, plan: dict[str, Any]) -> nn.Module:
    """Build in place the network that `Report.plan` described, with drawn weights, for a state dictionary to fill.

    Raises:
        UsageError: a plan that does not fit the network; the message says where.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierarchyWarning)
        new = {site.paths: build(site, module, scheme) for site, module, scheme in changes_of(model, plan)}
    return replace_modules(model, new)[0]


def convert_stepwise(
    model: nn.Module, scheme: Scheme | None = None, *, steps: int = 4, **options: Any
) -> Iterator[tuple[nn.Module, Report]]:
    """Progressive conversion: the same plan as `convert`, carried out in `steps` portions from the last layers on.

    Fine-tune the network that comes out of each step before asking for the next. The weights of every portion are
    fitted to the dense ones as they are then.

        for net, report in torchmg.convert_stepwise(net, torchmg.MGIC(), ratio=4, steps=4):
            fine_tune(net)

    Args:
        model: the network; it is not changed, every step changes the copy that is given out.
        scheme: as in `convert`.
        steps: portions of about equally many parameters.
        **options: as in `convert`, without `inplace` and `dry_run`.

    Yields:
        The network and what the step changed, `steps` times at most.

    Raises:
        UsageError: as `convert`, or steps below 1.
    """
    if not isinstance(steps, int) or steps < 1:
        raise UsageError(f"steps must be a whole number of portions, at least 1; got {steps!r}.")
    if extra := {"inplace", "dry_run"} & set(options):
        raise UsageError(f"convert_stepwise has no option {', '.join(sorted(extra))}. Leave it out.")
    if (data := options.get("data")) is not None:
        data = options["data"] = batches_of(data)  # it may be an iterator, and is asked for more than once
    _, report = convert(model, scheme, **options, dry_run=True)
    net = copy.deepcopy(model)
    batches = None if is_meta(model) else data
    for portion in _portions(report.replaced, steps):
        part = replace(report, changes=tuple(portion), dry_run=False)
        net, done = carry_out(net, part, batches, inplace=True)
        yield net, done


def _portions(changes: Sequence[Change], steps: int) -> Iterator[list[Change]]:
    """The changes from last to first, in runs of about equally many parameters."""
    whole, done, portions = sum(change.before.params for change in changes), 0, defaultdict[int, list[Change]](list)
    for change in reversed(changes):
        middle = done + change.before.params / 2
        portions[int(middle * steps / whole)].append(change)
        done += change.before.params
    yield from portions.values()


def _check_request(
    model: nn.Module,
    scheme: Scheme,
    budgets: tuple[float | None, ...],
    warm_start: WarmStart,
    batches: list[Inputs] | None,
    example_input: Inputs | None,
) -> None:
    if not isinstance(model, nn.Module):
        raise UsageError(f"convert takes a torch.nn.Module; got {type(model).__name__}.")
    if not isinstance(scheme, Scheme):
        raise UsageError(f"scheme must be MGIC(), Lean() or Circulant(); got {scheme!r}.")
    if sum(budget is not None for budget in budgets) > 1:
        raise UsageError("Give one budget: max_params, max_macs or ratio.")
    if budgets[1] is not None and example_input is None:
        raise UsageError("max_macs needs example_input: MACs depend on the input's size.")
    if budgets[2] is not None and not budgets[2] > 1:
        raise UsageError(f"ratio must be above 1: 4 means at most a quarter of the parameters; got {budgets[2]!r}.")
    if warm_start == "match" and batches is None:
        raise UsageError("warm_start='match' needs data: a few batches of inputs. Without any, use 'project'.")


def _partition(model: nn.Module, sites: list[Site], scheme: Scheme) -> tuple[list[Site], list[Skip]]:
    """Sites that can have the scheme, and the others as skips."""
    good, refused = [], []
    for site in sites:
        module = model.get_submodule(site.path)
        reason = refusal(site, scheme)
        if not reason and site.shape is None:
            reason = _trial(site, module, scheme)
        if reason:
            refused.append(Skip(site.path, type(module).__name__, site.parameters, reason, True))
        else:
            good.append(site)
    return good, refused


def _trial(site: Site, module: nn.Module, scheme: Scheme) -> str:
    """Why a block cannot be narrowed, whatever the sizes; empty if it can."""
    assert isinstance(scheme, MGIC)
    width = width_of(site)
    try:
        ghost(site, module, replace(scheme, group_size=width // 2, coarsest=width // 2))
    except TorchmgError as error:
        return f"its block cannot be narrowed: {error}"
    return ""


def _axis(site: Site) -> int:
    return -1 if site.shape is not None and site.shape.dims == 0 else 1


def _whole(model: nn.Module, example_input: Inputs | None) -> Cost:
    """Unique parameters of the network, and its MACs where the counter knows how to call it."""
    params = sum(parameter.numel() for parameter in model.parameters())
    return Cost(params, 0 if example_input is None else macs_of(model, example_input))


def _limit(
    whole: Cost, max_params: int | None, max_macs: int | None, ratio: float | None
) -> tuple[int | None, Literal["params", "macs"]]:
    if max_macs is not None:
        return max_macs, "macs"
    if ratio is not None:
        return int(whole.params / ratio), "params"
    return max_params, "params"


def _fixed(model: nn.Module, sites: list[Site], scheme: Scheme, seen: dict[str, Seen]) -> list[Change]:
    """The same sizes everywhere."""
    changes = []
    for site in sites:
        module, met = model.get_submodule(site.path), seen.get(site.path)
        changes.append(Change(site, scheme, dense_cost(site, module, met), cost(site, module, scheme, met)))
    return changes


def _within(
    model: nn.Module,
    sites: list[Site],
    scheme: Scheme,
    seen: dict[str, Seen],
    losses: Losses,
    whole: Cost,
    limit: int,
    by: Literal["params", "macs"],
) -> list[Change]:
    """Sizes for every site that meet the budget at the smallest estimated loss."""
    menus: list[list[Choice]] = []
    for site in sites:
        # MACs of blocks are counted, which takes its time; a budget of parameters does without.
        met = seen.get(site.path) if by == "macs" else None
        menus.append(menu(site, model.get_submodule(site.path), scheme, met, losses))
    dense = [dense_cost(site, model.get_submodule(site.path), seen.get(site.path)) for site in sites]
    fixed = max(getattr(whole, by) - sum(getattr(own, by) for own in dense), 0)
    try:
        picks = choose(menus, limit, by=by, fixed=fixed, names=[site.path for site in sites])
    except BudgetError as error:
        factor = floor(100 * getattr(whole, by) / max(minimum(menus, by, fixed), 1)) / 100
        hint = f" As a factor of what the network has: ratio={factor}." if by == "params" and factor > 1 else ""
        raise BudgetError(f"{error}{hint}") from None
    changes = []
    for site, before, choices, pick in zip(sites, dense, menus, picks, strict=True):
        setting, module = choices[pick].label, model.get_submodule(site.path)
        assert setting is None or isinstance(setting, Scheme)
        after = before if setting is None else cost(site, module, setting, seen.get(site.path))
        changes.append(Change(site, setting, before, after, loss=choices[pick].loss))
    return changes


def _no_smaller(model: nn.Module, change: Change) -> Skip:
    kind = type(model.get_submodule(change.site.path)).__name__
    reason = f"{change.scheme} would have {change.after.params:,} parameters, no fewer"
    return Skip(change.site.path, kind, change.before.params, reason, True)


def _needless(whole: Cost, limit: int, by: str) -> str:
    return f"The network is within the budget as it is: {getattr(whole, by):,} {by} of at most {limit:,}."
