"""Carrying out a planned conversion: build, fit, put in, and take out again what fails."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from torchmg.conversion.in_order import project_in_order
from torchmg.conversion.observe import Inputs, copied, is_meta, undisturbed
from torchmg.conversion.regress import kept_norms, match, output_errors, reestimate_norms, restore_norms
from torchmg.conversion.report import Report
from torchmg.conversion.sites import Site
from torchmg.conversion.surgery import replace_modules
from torchmg.conversion.units import build
from torchmg.conversion.warm_start import project


def carry_out(
    model: nn.Module, report: Report, batches: list[Inputs] | None, inplace: bool
) -> tuple[nn.Module, Report]:
    """Build, fit and put in what a report plans; where that fails, the network is as it was.

    Args:
        model: the original network.
        report: of a dry run, or a part of one.
        batches: what the network takes, to fit units to; None on the meta device.
        inplace: change `model` itself instead of a copy.

    Returns:
        The converted network, and the report with errors, which can undo it.

    Raises:
        UsageError: a network that cannot be copied.
        DivergedError: what is not finite.
    """
    net = model if inplace else copied(model, "with inplace=True no copy is made")
    dense = net if batches is None else copied(net, "without data no copy is kept")
    replaced = report.replaced
    built = []
    for change in replaced:
        assert change.scheme is not None
        built.append((change.site, build(change.site, net.get_submodule(change.site.path), change.scheme)))
    fits = {} if report.warm_start == "none" or is_meta(net) else _projected(net, built, batches)
    fitted = [replace(change, fit_error=fits.get(change.site.path)) for change in replaced]
    new = {site.paths: unit for site, unit in built}
    learning = batches is not None and report.warm_start != "none"
    norms = kept_norms(net) if learning else {}
    net, undo = replace_modules(net, new)
    try:
        if batches is not None:
            pairs = [(dense.get_submodule(change.site.path), new[change.site.paths]) for change in fitted]
            if report.warm_start == "match":
                match(dense, net, pairs, batches)
            if learning:
                reestimate_norms(net, batches)
            errors = output_errors(dense, pairs, batches)
            fitted = [replace(change, output_error=error) for change, error in zip(fitted, errors, strict=True)]
    except BaseException:
        undo.undo(net)
        restore_norms(norms)
        raise
    found = {change.site.paths: change for change in fitted}
    changes = tuple(found.get(change.site.paths, change) for change in report.changes)
    return net, replace(report, changes=changes, _undo=undo, _norms=norms)


def _projected(
    net: nn.Module, built: Sequence[tuple[Site, nn.Module]], batches: list[Inputs] | None
) -> dict[str, float]:
    """Fill the units; path of every site -> fit error."""
    if batches is not None:
        with undisturbed(net):
            return project_in_order(net, built, batches)
    return {site.path: project(site, net.get_submodule(site.path), unit) for site, unit in built}
