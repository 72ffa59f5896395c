"""What docs/papers/lowcost.md says in code and in its table of couplings is so."""

import re
from pathlib import Path
from typing import Any

import pytest

from torchmg.nn.coupling import COUPLINGS, channel_coupling
from torchmg.paper import TABLES
from torchmg.train.recipe import recipe_names

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "papers" / "lowcost.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def couplings() -> list[tuple[str, dict[str, Any], list[str]]]:
    """Name, options and numbers of each row of the table of couplings."""
    (table,) = re.findall(r"<!-- couplings -->(.*)<!-- end of couplings -->", PAGE, flags=re.DOTALL)
    rows = []
    for line in table.strip().splitlines()[2:]:
        label, *numbers = (cell.strip() for cell in line.strip("|").split("|"))
        name, *options = label.replace("`", "").split(", ")
        rows.append((name, eval(f"dict({', '.join(options)})"), numbers))
    return rows


@pytest.mark.parametrize(("name", "options", "numbers"), couplings(), ids=str)
def test_weights_and_reach_of_couplings(name: str, options: dict[str, Any], numbers: list[str]) -> None:
    found = []
    for channels in (64, 256):
        coupling = channel_coupling(name, channels, channels, **options)
        reach = coupling.reach()
        found += [f"{coupling.num_params():,}", "never" if reach is None else str(reach)]
    assert found == numbers


def test_every_coupling_is_in_both_tables() -> None:
    assert {name for name, *_ in couplings()} == set(COUPLINGS)
    assert all(re.search(rf"^\| `{name}`.* \|.*\|.*(linear|quadratic)", PAGE, flags=re.MULTILINE) for name in COUPLINGS)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_run_and_print_what_they_say(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(example, "lowcost.md", "exec"), {})
    printed = capsys.readouterr().out
    for comment in re.findall(r"\)  # (.*)", example):
        for said in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?|True|linear|quadratic", comment):
            assert said in printed, comment


def test_tests_tables_recipes_and_files_that_it_names_exist() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for name in set(re.findall(r"`(test_\w+)`", PAGE)):
        assert f"def {name}(" in source, name
    for path in set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE)):
        assert (ROOT / path).exists(), path
    for tables in re.findall(r"^torchmg table (.*)$", PAGE, flags=re.MULTILINE):
        assert set(tables.split()) <= set(TABLES)
    trained = re.findall(r"^torchmg train (\w+)", PAGE, flags=re.MULTILINE)
    assert set(trained) <= set(recipe_names())
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / "papers" / target).exists(), target
