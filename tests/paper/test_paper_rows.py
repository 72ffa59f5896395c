"""Printed numbers, verdicts, and the MGIC paper's rows."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchmg.errors import UnknownNameError
from torchmg.models.catalog import MODELS
from torchmg.models.options import ModelOptions
from torchmg.paper import TABLES, find
from torchmg.paper.counts import by_the_text, counts
from torchmg.paper.rows import Network, Printed, Row


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [("11,174k", 1000, 11_174_000), ("0.53M", 10_000, 530_000), ("2.90G", 10**7, 2_900_000_000), ("3,300", 100, 3300)],
)
def test_values_of_printed_numbers(text: str, unit: int, value: int) -> None:
    assert Printed(text, unit).value == value


@given(st.integers(10_000, 10**8))
def test_a_count_agrees_with_its_own_rounding_and_with_no_other(count: int) -> None:
    nearest = round(count / 1000)
    agreeing = [k for k in range(nearest - 2, nearest + 3) if Printed(f"{k}k", 1000).agrees(count) == "exact"]
    assert nearest in agreeing
    assert len(agreeing) == (2 if count % 1000 == 500 else 1), "only halves go both ways"
    cut = Printed(f"{count // 1000}k", 1000).agrees(count)
    assert cut == ("exact" if count % 1000 <= 500 else "exact if truncated")


def test_verdicts() -> None:
    row = Row("x", Printed("100k", 1000))
    assert row.verdict(None) == "not built yet"
    assert row.verdict(100_499) == "exact"
    assert row.verdict(100_501) == "exact if truncated"
    assert row.verdict(110_000) == "not matched (+10.0 %)"
    assert Row("x", Printed("100k", 1000), misprint="why").verdict(90_000) == "misprint (-10.0 %)"
    assert Row("x", Printed("100k", 1000), misprint="why").verdict(100_000) == "exact", "a reason does not decide"
    assert Row("x", Printed("100k", 1000), departs="how").verdict(100_000) == "not matched (+0.0 %)"
    assert row.verdict_of_macs(5) is None
    assert Row("x", Printed("1k", 1000), macs=Printed("5M", 10**6)).verdict_of_macs(5_400_000) == "exact"


def test_table_1_of_mgic_is_met_by_transfers_alone() -> None:
    rows = TABLES["mgic-1"].rows
    found = [counts(row) for row in rows]
    sums = [sum(c * min(s, c) for c in (64, 32, 16)) for s in (32, 16, 8, 4)]
    assert [count and count.effective for count in found] == sums == [3328, 1792, 896, 448]
    assert [row.verdict(total) for row, total in zip(rows, sums, strict=True)] == ["exact"] * 4


def test_residual_networks_of_mgic_and_the_authors_code() -> None:
    """Known counts of the published code at (s_c, s_g), and of the text's rules."""
    found = [counts(row) for name in ("mgic-3", "mgic-12") for row in TABLES[name].rows]
    pairs = [(count.effective, count.macs) for count in found if count]
    assert pairs[0] == (853_018, 125_485_696)
    assert pairs[3:5] == [(534_394, 110_850_688), (498_682, 108_491_392)]
    assert pairs[7] == (525_178, 112_546_432)
    rows = [row for name in ("mgic-3", "mgic-12") for row in TABLES[name].rows]
    verdicts = [row.verdict(count and count.effective) for row, count in zip(rows, found, strict=True)]
    exact = [verdict == "exact" for verdict in verdicts]
    assert exact == [True, False, False, True, True, False, False, True, False, False]
    assert all(row.note or row.departs for row, verdict in zip(rows, verdicts, strict=True) if verdict != "exact")


def test_table_5_of_mgic_stands_beside_the_preset_that_comes_nearest() -> None:
    """Each note says what the other preset of code gives, in millions; none is nearer to the printed parameters."""
    dense, *rows = TABLES["mgic-5"].rows[:4]
    found = counts(dense)
    assert found is not None
    assert (found.effective, found.macs) == (25_557_032, 4_089_184_256)
    assert dense.verdict(found.effective) == dense.verdict_of_macs(found.macs) == "exact"
    pairs = []
    for row in rows:
        assert isinstance(row.ours, Network)
        given = {**row.ours.options.given(), "group_size": int(row.label.rpartition("=")[2]), "coarsest": 64}
        assert row.ours.options == ModelOptions(**given)
        presets = {name: replace(row.ours.options, preset=name) for name in ("paper", "table5", "reference_code")}
        all_counts = {
            name: count.effective
            for name, options in presets.items()
            if (count := counts(replace(row, macs=None, ours=replace(row.ours, options=options))))
        }
        assert min(all_counts, key=lambda name: abs(all_counts[name] - row.parameters.value)) == given["preset"]
        (other,) = {"table5", "reference_code"} - {given["preset"]}
        assert row.note == f"--preset {other} gives {all_counts[other] / 1e6:.2f}M."
        assert by_the_text(row) == all_counts["paper"]
        assert all_counts["table5"] == pytest.approx(row.parameters.value, rel=0.022)
        pairs.append((row.verdict(all_counts[given["preset"]]), all_counts[given["preset"]]))
    assert pairs == [("exact", 6_190_760), ("exact", 9_409_576), ("not matched (+0.7 %)", 15_213_224)]


def test_every_row_has_a_model_and_tables_without_rows_say_why() -> None:
    """What torchmg has for the tables without numbers is named, and in the catalogue."""
    assert all(table.built == len(table.rows) for table in TABLES.values())
    without = [name for name, table in TABLES.items() if not table.rows]
    assert without == ["mgic-2", "mgic-8", "mgic-10", "mgic-11"]
    assert all("available to us" in TABLES[name].note for name in without)
    named = re.findall(r"\b(?:function|mgic|dgcnn)\w*", " ".join(TABLES[name].note for name in without))
    assert {"function_mobilenetv3", "function_ghost", "function_mgic"} <= set(named) <= set(MODELS)


def test_every_table_is_there_under_its_name() -> None:
    names = [*(f"mgiad-{n}" for n in range(1, 10)), *(f"mgic-{n}" for n in (1, 2, 3, 5, *range(7, 14)))]
    names += [*(f"pde-{data}" for data in ("cifar10", "cifar100", "stl10")), "imexnet-code"]
    assert list(TABLES) == names
    assert all(table.source.split(",")[0].lower() == name.split("-")[0] for name, table in TABLES.items())
    with pytest.raises(UnknownNameError, match=r"Unknown table 'mgiad2'\. Did you mean mgiad-2"):
        find("mgiad2")


def test_the_command_of_a_network_is_what_the_command_line_takes() -> None:
    row = TABLES["mgiad-8"].rows[1]
    assert isinstance(row.ours, Network)
    assert row.ours.command() == "mgiad18 --group-size 4 --coarsest 64 --width 3 --eta-post 2"
