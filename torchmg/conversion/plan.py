"""Reading a conversion's plan: which module becomes what, checked against a network."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from torchmg.conversion.refusals import Skip
from torchmg.conversion.schemes import Scheme, scheme_of
from torchmg.conversion.sites import Site, find_sites
from torchmg.conversion.units import refusal
from torchmg.errors import TorchmgError, UsageError, did_you_mean

FORMAT = 1
"""Of the plan; others are refused."""


def changes_of(model: nn.Module, plan: Mapping[str, Any]) -> Iterator[tuple[Site, nn.Module, Scheme]]:
    """Every site that the plan converts, its module, and the scheme with its sizes.

    Raises:
        UsageError: another format, a damaged plan, or one that is not of this network; the message says where.
    """
    if plan.get("format") != FORMAT:
        raise UsageError(f"This plan has format {plan.get('format')!r}; this version of torchmg reads {FORMAT}.")
    changes = plan.get("changes")
    if not isinstance(changes, list):
        raise UsageError("This plan has no list of changes; it is damaged. Convert the network anew.")
    blocks, skips = find_sites(model, stem=True, head=True)
    layers, _ = find_sites(model, blocks=False, stem=True, head=True)
    known = {(site.paths, site.shape is None): site for site in (*layers, *blocks)}
    names = [site.path for site in (*blocks, *layers)]
    for change in changes:
        if not isinstance(change, Mapping) or not isinstance(change.get("paths"), list) or not change["paths"]:
            raise UsageError(f"This plan has a change without paths: {change!r}. It is damaged; convert anew.")
        paths = tuple(map(str, change["paths"]))
        options = {key: value for key, value in change.items() if key != "paths"}
        try:
            scheme = scheme_of(options)
        except TorchmgError as error:
            raise UsageError(f"The plan's entry for '{paths[0]}' cannot be read: {error}") from error
        site = known.get((paths, True)) if options.get("blocks") else None
        site = site or known.get((paths, False))
        if site is None:
            raise UsageError(
                f"The plan converts '{paths[0]}', {_instead(paths[0], skips)}{did_you_mean(paths[0], names)}"
            )
        if reason := refusal(site, scheme):
            raise UsageError(f"The plan converts '{paths[0]}', but {reason}. It is of another network.")
        yield site, model.get_submodule(site.path), scheme


def _instead(path: str, skips: list[Skip]) -> str:
    """What stands at a path that is no site."""
    for skip in skips:
        if skip.path == path:
            return f"which this network cannot have converted: {skip.reason}."
    return "which this network does not have, or not under these names only."
