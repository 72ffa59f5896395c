"""Values in prose are what the records say."""

import json
from pathlib import Path
from statistics import mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pages import values
from pages.tree import Tree
from torchmg.paper import TABLES
from torchmg.train.recipe import recipe


def record(test: float, train: float) -> dict:
    made = recipe("digits_resnet20").to_json()
    return {"recipe": made, "parameters": 1234567, "macs": 2, "train_accuracy": train, "test_accuracy": test}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "results" / "p" / "e").mkdir(parents=True)
    (tmp_path / "benchmarks").mkdir()
    for seed, test in enumerate((90.0, 92.0, 95.5)):
        (tmp_path / "results" / f"x_s{seed}.json").write_text(json.dumps(record(test, 99.0)))
    (tmp_path / "results" / "p" / "e" / "one.json").write_text(json.dumps(record(80.25, 81.0)))
    rows = [{"a": "u v=1", "n": 4, "1.5 ms": 2.0}, {"a": "u v=1", "n": 8, "1.5 ms": 7.0}]
    (tmp_path / "benchmarks" / "b.json").write_text(json.dumps({"rows": rows, "list": [3, 5], "name": "Epyc"}))
    return Tree(tmp_path)


@pytest.mark.parametrize(
    ("what", "shown"),
    [
        ("{results/x_s0:test}", "90.00"),
        ("{results/x_s0:train}; .1f", "99.0"),
        ("{results/x_s0:gap}; .0f", "9"),
        ("{results/x_s0:parameters}; ,", "1,234,567"),
        ("{one:test}", "80.25"),
        ("{results/x_s1:test} - {results/x_s0:test}; +.1f", "+2.0"),
        ("100 - 100 * {results/x_s0:test} / {results/x_s1:test}; .2f", f"{100 - 9000 / 92:.2f}"),
        ("mean({results/x_s*:test})", f"{mean((90, 92, 95.5)):.2f}"),
        ("std({results/x_s*:test})", f"{stdev((90, 92, 95.5)):.2f}"),
        ("min({results/x_s*:test}, {one:test})", "80.25"),
        ("max({results/x_s*:test}, 96)", "96.00"),
        ("{benchmarks/b:rows[a=u v=1,n=8][1.5 ms]}; .0f", "7"),
        ("max({benchmarks/b:rows[*,a=u v=1][1.5 ms]}); .0f", "7"),
        ("min({benchmarks/b:rows[*,n=4].n}, 9); d", "4"),
        ("{benchmarks/b:list.1}; d", "5"),
        ("{benchmarks/b:name}", "Epyc"),
        ("{paper/mgiad-1:MgNet^{A,B}, 20-type:test}", "90.58"),
        ("{paper/mgiad-1:MgNet^{A,B}, 20-type:spread}", "0.30"),
        ("{paper/mgiad-1:ResNet18:gap}", f"{97.71 - 95.58:.2f}"),
        ("{paper/mgic-3:ResNet-56:parameters}", "0.85M"),
        ("{paper/mgic-3:ResNet-56:macs}", "125M"),
        ("{results/gone:test}", "not run"),
        ("{one:test} - {gone:test}; .1f", "not run"),
        ("mean({results/gone_*:test})", "not run"),
        ("std({results/x_s1*:test})", "not run"),
    ],
)
def test_expressions(tree: Tree, what: str, shown: str) -> None:
    assert values.value(what, tree, "results/p/e") == shown


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("{results/x_s0:tset}", "no 'tset' there"),
        ("{benchmarks/b:list.7}", "no '7' there"),
        ("{benchmarks/b:rows[a=u v=1].n}", "a=u v=1"),
        ("min({benchmarks/b:rows[*,n=5].n})", "no '\\[\\*,n=5\\]' there"),
        ("{benchmarks/b:rows[*,a=u v=1].n}", "several values"),
        ("{results/x_s*:test}", "several values"),
        ("{paper/mgiad-1:ResNet19:test}", "0 rows 'ResNet19'"),
        ("{paper/mgic-12:MGIC-ResNet-56, s_c=64, s_g=16:test}", "no test is printed"),
        ("{one:test} -", "no expression"),
        ("91.2 if {one:test} else 3", "Only"),
        ("open({one:test})", "Only"),
        ("{one:test} ** 2", "Only"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_it(tree: Tree, what: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        values.value(what, tree, "results/p/e")


@given(
    st.floats(1, 99, allow_nan=False),
    st.floats(1, 99),
    st.sampled_from(["+", "-", "*", "/"]),
    st.sampled_from(range(4)),
)
def test_calculations_are_those_of_python(a: float, b: float, sign: str, digits: int) -> None:
    tree = Tree(Path())
    tree.record = {"x/a": record(a, b)}.get  # pyright: ignore[reportAttributeAccessIssue]
    expected = {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign]
    assert values.value(f"{{x/a:test}} {sign} {{x/a:train}}; .{digits}f", tree) == f"{expected:.{digits}f}"


def test_a_page_gets_its_values_and_keeps_the_rest(tree: Tree) -> None:
    page = (
        "<!-- values: results/p/e -->\n\nIt has <!--= {one:test} -->1<!--/--> % (`x`)\n"
        "<!-- values: benchmarks -->\n\nand <!--= {b:list.0}; d -->old\ntext<!--/-->, <!--= {gone:x} -->5<!--/-->."
    )
    fresh = values.valued(page, tree)
    assert fresh == page.replace(">1<", ">80.25<").replace(">old\ntext<", ">3<").replace(">5<", ">not run<")
    assert values.valued(fresh, tree) == fresh
    assert values.without(fresh).replace("\n", " ").count("%") == 1
    assert "80.25" not in values.without(fresh)


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("text\n<!--= {one:test} -->1<!--/--> more", "must not begin"),
        ("- <!--= {one:test} -->1<!--/--> more", "must not begin"),
        ("a <!--= {one:test} -->1 more", "1 values are opened and 0 closed"),
        ("a <!--= {one:test} -->1<!--= {one:test} -->2<!--/-->", "2 values are opened and 1 closed"),
    ],
)
def test_markers_that_markdown_or_a_reader_would_misread(tree: Tree, page: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        values.valued(page, tree)


def test_numbers_of_definitions_must_stand_in_their_source(tree: Tree) -> None:
    folder = tree.root / "tests"
    folder.mkdir()
    (folder / "t.py").write_text("LIMIT = 0.022\nassert x == '+12.5 %'\nCOUNT = 1_234\n")
    (tree.root / "notes.md").write_text("12.5")
    for shown in ("12.5 %", "0.022 and 12.5 %", "1,234"):
        page = f"a <!--@ tests/t.py -->{shown}<!--/--> b"
        assert values.valued(page, tree) == page
    for source, shown in (
        ("tests/t.py", "2.5 %"),
        ("tests/t.py", "12 %"),
        ("tests/t.py", "0.02"),
        ("notes.md", "12.5"),
    ):
        with pytest.raises(ValueError, match=r"has no|no source file"):
            values.valued(f"a <!--@ {source} -->{shown}<!--/--> b", tree)
    with pytest.raises(ValueError, match="no source file"):
        values.valued("a <!--@ results/x_s0.json -->90.0<!--/--> b", tree)


def test_every_printed_accuracy_can_be_named(tree: Tree) -> None:
    for table in TABLES.values():
        for row in table.rows:
            if row.accuracy and [other.label for other in table.rows].count(row.label) == 1:
                what = f"{{paper/{table.name}:{row.label}:test}}"
                assert float(values.value(what, tree)) == pytest.approx(float(row.accuracy.test), abs=0.005)
