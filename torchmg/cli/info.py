"""`torchmg info`: one model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from torchmg.cli.model import ModelArguments
from torchmg.cli.output import Output


@dataclass(frozen=True)
class Arguments:
    """One model: hierarchies, how its channel couplings scale, costs, its source, and recipes that train it."""

    model: Annotated[ModelArguments, tyro.conf.OmitArgPrefixes]
    output: Annotated[Output, tyro.conf.OmitArgPrefixes] = field(default_factory=Output)


def main(arguments: Sequence[str]) -> int:
    """Describe a model."""
    args = tyro.cli(Arguments, args=arguments, prog="torchmg info")
    args.model.check_name()
    from torchmg.counting.report import count
    from torchmg.models.catalog import MODELS
    from torchmg.models.info import couplings, hierarchies
    from torchmg.models.shipped import names
    from torchmg.models.user import build
    from torchmg.train.recipe import recipe_names

    name = args.model.model
    model = build(name, **args.model.given())
    counted = count(model, args.model.default_input(model), name)
    entry = MODELS.get(name)
    recipes, weights = (recipe_names(name), names(name)) if entry else ([], [])
    shown, scaling = hierarchies(model), couplings(model)
    if not args.output.json:
        print(*(part for part in (shown, scaling) if part), sep="\n\n", end="\n\n")
    rows = [dict(zip(scaling.columns, row, strict=True)) for row in scaling.rows] if scaling else []
    citation = entry and entry.citation
    args.output.give(
        counted.table(), hierarchies=shown, couplings=rows, citation=citation, recipes=recipes, weights=weights
    )
    if not args.output.json and entry:
        whose = "torchmg train RECIPE; mgiad_: that paper's settings, the others ours"
        print(f"\nsource   {entry.citation}\nrecipes  {', '.join(recipes)}  ({whose})")
        if weights:
            print(f'weights  {", ".join(weights)}  (torchmg.create("{name}", weights="{weights[-1]}"))')
    return 0
