"""Which runs belong to a row, and how what they reached is shown."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import torchmg
from torchmg.errors import CheckpointError, UsageError
from torchmg.models.options import ModelOptions, Preset
from torchmg.paper import TABLES
from torchmg.paper.measured import DEFAULTS, OF_PRESETS, Measured, load, of_row, resolved
from torchmg.paper.rows import Network, PaperTable, Row
from torchmg.paper.show import for_people, for_programs
from torchmg.tables import Table
from torchmg.train.recipe import Recipe, recipe

MGIAD_2, MGIC_3 = TABLES["mgiad-2"], TABLES["mgic-3"]
PAPER = recipe("cifar10_mgiad18", epochs=400, lr=0.05)
"""The paper's training of the row c_K=64, g_s=8."""


def row_of(table: PaperTable, label: str) -> Row:
    return next(row for row in table.rows if row.label == label)


def put(folder: Path, made: Recipe, test: float = 90.0, train: float = 92.0) -> None:
    folder.mkdir(exist_ok=True)
    record = {"recipe": made.to_json(), "parameters": 1, "macs": 1, "train_accuracy": train, "test_accuracy": test}
    (folder / f"{len(list(folder.iterdir()))}.json").write_text(json.dumps(record))


def cells(table: Table, label: str) -> dict[str, object]:
    return next(dict(zip(table.columns, row, strict=True)) for row in table.rows if label in row)


def built(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Shapes of all tensors, and what every module says of itself, such as groups and activations."""
    with torch.device("meta"):
        made = torchmg.create(model, **options)
    return {name: tensor.shape for name, tensor in made.state_dict().items()} | {"modules": str(made)}


@pytest.mark.parametrize("given", [*((model, None) for model in DEFAULTS), *OF_PRESETS])
def test_defaults_are_those_of_the_builders(given: tuple[str, Preset | None]) -> None:
    model, preset = given
    options = ModelOptions(preset=preset)
    assert built(model, options.given()) == built(model, resolved(model, options))


def test_whatever_a_row_sets_has_a_default_if_there_is_one_to_name() -> None:
    networks = [row.ours for table in TABLES.values() for row in table.rows if isinstance(row.ours, Network)]
    without = {
        (ours.model, option)
        for ours in networks
        for option in ours.options.given()
        if option not in resolved(ours.model, ModelOptions())
    }
    assert without == {("mgnet18", "group_size")}, "all channels, whatever their number"


@pytest.mark.parametrize(
    ("table", "model", "given", "printed"),
    [
        ("mgic-12", "mgic_resnet56", {"preset": "reference_code", "group_size": 16}, ["0.53M"]),
        ("mgic-12", "mgic_resnet56", {"group_size": 16, "coarsest": 16}, ["0.47M"]),
        ("mgic-12", "mgic_resnet56", {"preset": "two_level", "coarsest": 64}, ["0.41M"]),
        ("mgic-12", "mgic_resnet56", {"preset": "two_level", "coarsest": 16}, []),
        ("mgic-13", "mgic_mobilenetv3_large", {"preset": "table13"}, ["5.2M"]),
        ("mgic-7", "mgic_mobilenetv3_large", {"preset": "table13", "coarsest": 64}, ["5.2M"]),
        ("mgic-7", "mgic_mobilenetv3_large", {"preset": "budget_140m"}, []),
        ("mgic-9", "mgic_lraspp_mobilenetv3_large", {"stop": "lt1"}, ["1.67M"]),
        ("mgic-9", "mgic_lraspp_mobilenetv3_large", {"stop": "le"}, []),
    ],
)
def test_a_run_that_names_or_leaves_out_a_default_belongs(
    table: str, model: str, given: dict[str, Any], printed: list[str]
) -> None:
    rows = TABLES[table].rows
    data = next(row.ours.data for row in rows if isinstance(row.ours, Network))
    run = Measured(recipe(f"{data}_{model}", options=ModelOptions(**given)), (80.0,), (81.0,))
    assert [row.parameters.text for row in rows if of_row(row, TABLES[table], [run])] == printed


@pytest.mark.parametrize(
    ("made", "label"),
    [
        (PAPER, "MGiaD, c_K=64, g_s=8"),
        (replace(PAPER, options=ModelOptions(group_size=8, coarsest=64, width=1.0)), "MGiaD, c_K=64, g_s=8"),
        (replace(PAPER, options=ModelOptions(width=3.0)), "MGiaD, c_K=64, g_s=8, lambda=3"),
        (replace(PAPER, options=ModelOptions(group_size=4, coarsest=4)), "MGiaD, c_K=4, g_s=4"),
        (replace(PAPER, model="mgnet20"), "MgNet^{A,B}, 20-type"),
        (replace(PAPER, options=ModelOptions(norms="level")), None),
        (replace(PAPER, options=ModelOptions(correction="plain")), None),
        (replace(PAPER, data="cifar100"), None),
        (replace(PAPER, model="resnet20"), None),
    ],
)
def test_a_run_belongs_to_the_row_of_its_model_and_data(tmp_path: Path, made: Recipe, label: str | None) -> None:
    put(tmp_path, made)
    found = [row.label for row in MGIAD_2.rows if of_row(row, MGIAD_2, load(tmp_path))]
    assert found == ([label] if label else [])


def test_seeds_are_a_mean_with_its_spread_and_repeats_count_once(tmp_path: Path) -> None:
    for seed, test in ((0, 90.0), (1, 92.0), (1, 50.0), (2, 94.0)):
        put(tmp_path, replace(PAPER, seed=seed), test, test + 3)
    results = load(tmp_path)
    shown = cells(for_people(MGIAD_2, results), "MGiaD, c_K=64, g_s=8")
    assert (shown["our test %"], shown["our train %"], shown["our gap"]) == (
        "92.00 (2.00) (3 seeds)",
        "95.00 (2.00)",
        "3.00",
    )
    data = cells(for_programs([MGIAD_2], results), "MGiaD, c_K=64, g_s=8")
    assert (data["test"], data["test_std"], data["gap"], data["seeds"], data["training"]) == (92.0, 2.0, 3.0, 3, "")


def test_the_longest_run_is_shown_with_what_it_has_otherwise_than_the_paper(tmp_path: Path) -> None:
    put(tmp_path, replace(PAPER, epochs=3), 70.0)
    put(tmp_path, replace(PAPER, epochs=12, lr=0.1, batch_size=64), 91.0)
    put(tmp_path, replace(PAPER, epochs=12, lr=0.1), 92.67)
    shown = cells(for_people(MGIAD_2, load(tmp_path)), "MGiaD, c_K=64, g_s=8")
    assert shown["our test %"] == "92.67 (12 of 400 epochs, lr 0.1)"


def test_epochs_are_always_told_where_the_papers_are_unknown() -> None:
    made = Measured(recipe("cifar10_resnet56", epochs=5), (80.0,), (81.0,))
    shown = cells(for_people(MGIC_3, [made]), "ResNet-56")
    assert shown["our test %"] == "80.00 (5 epochs)"
    assert cells(for_people(MGIC_3, [made]), "MGIC-ResNet-56, s_c=16, s_g=8")["our test %"] == "not yet"


def test_the_papers_own_training_differs_in_nothing_and_other_milestones_do(tmp_path: Path) -> None:
    """FashionMNIST: a tenth every 25 epochs; a cosine has no milestones that could differ."""
    table = TABLES["mgiad-4"]
    step = {"epochs": 400, "lr": 0.05, "schedule": "step", "milestones": tuple(range(25, 400, 25))}
    paper = Recipe(model="mgnet20", data="fashion_mnist", **step)
    for number, (made, expected) in enumerate(
        (
            (paper, ""),
            (replace(paper, milestones=(100, 150)), "milestones (100, 150)"),
            (replace(paper, gamma=0.2), "gamma 0.2"),
            (replace(paper, schedule="cosine", milestones=(100, 150), gamma=0.2), "schedule cosine"),
        )
    ):
        folder = tmp_path / str(number)
        put(folder, made)
        data = cells(for_programs([table], load(folder)), "MgNet^{A,B}, 20-type")
        assert data["training"] == expected


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        ({"augment": "autoaugment"}, ""),
        ({"layout": "channels_first", "compile": "inductor"}, ""),
        ({"ema": 0.999, "label_smoothing": 0.1}, "label_smoothing 0.1, ema 0.999"),
        ({"nesterov": True}, "nesterov True"),
        ({"warmup_epochs": 5.0}, "warmup_epochs 5.0"),
        ({"decay": "weights"}, "decay weights"),
        ({"precision": "bf16"}, "precision bf16"),
        ({"subset": 1000}, "subset 1000"),
        ({"start_from": "w.safetensors"}, "start_from w.safetensors"),
        ({"epochs": 600}, "600 of 400 epochs"),
    ],
)
def test_what_no_paper_says_anything_of_is_told_when_it_was_done(changes: dict[str, Any], told: str) -> None:
    run = Measured(replace(PAPER, **changes), (90.0,), (91.0,))
    assert ", ".join(run.differences(MGIAD_2.training)) == told


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ({"epochs": 399}, {}),
        ({"epochs": 600}, {}),
        ({"ema": 0.99}, {}),
        ({"subset": 50}, {"epochs": 3}),
        ({"epochs": 3}, {"epochs": 12, "lr": 0.1}),
    ],
)
def test_full_runs_by_the_papers_recipe_stand_before_others_whatever_they_reached(
    worse: dict[str, Any], better: dict[str, Any]
) -> None:
    row = row_of(MGIAD_2, "MGiaD, c_K=64, g_s=8")
    lucky, chosen = (
        Measured(replace(PAPER, **worse), (99.0,), (99.0,)),
        Measured(replace(PAPER, **better), (50.0,), (50.0,)),
    )
    assert of_row(row, MGIAD_2, [lucky, chosen]) is chosen
    assert of_row(row, MGIAD_2, [chosen, lucky]) is chosen


def test_three_seeds_of_a_shortened_recipe_stand_before_one_of_a_longer_and_after_one_of_full_length() -> None:
    row = row_of(MGIAD_2, "MGiaD, c_K=64, g_s=8")
    seeds = Measured(replace(PAPER, epochs=3), (50.0, 51.0, 52.0), (50.0, 51.0, 52.0))
    long, full = (Measured(replace(PAPER, epochs=epochs), (90.0,), (90.0,)) for epochs in (12, 400))
    assert of_row(row, MGIAD_2, [long, seeds]) is seeds
    assert of_row(row, MGIAD_2, [seeds, full, long]) is full


def test_what_records_say_of_device_time_and_versions(tmp_path: Path) -> None:
    put(tmp_path, PAPER)
    put(tmp_path, replace(PAPER, seed=1), 91.0)
    for number, (device, date, seconds) in enumerate((("cpu", "2026-11-23", 10.0), ("GPU X", "2026-11-21", 30.0))):
        path = tmp_path / f"{number}.json"
        here = {"torchmg": "0.1.0", "torch": "2.15.0+cu132", "device": device, "threads": 2, "date": date}
        made = {"environment": here, "seconds": seconds, "command": f"train {number}", "parameters": 458, "macs": 77}
        path.write_text(json.dumps({**json.loads(path.read_text()), **made}))
    (found,) = load(tmp_path)
    assert (found.parameters, found.macs, found.seconds) == (458, 77, 20.0)
    assert found.said("device") == ("GPU X", "cpu, 2 thread(s)")
    assert found.said("date") == ("2026-11-21", "2026-11-23")
    assert found.said("versions") == ("torchmg 0.1.0, torch 2.15.0",)
    assert [(run.seed, run.file, run.command) for run in found.runs] == [
        (0, "0.json", "train 0"),
        (1, "1.json", "train 1"),
    ]
    data = cells(for_programs([MGIAD_2], [found]), "MGiaD, c_K=64, g_s=8")
    assert (data["run_parameters"], data["run_macs"], data["seconds"], data["records"]) == (
        458,
        77,
        20.0,
        "0.json 1.json",
    )
    assert (data["devices"], data["dates"]) == ("GPU X; cpu, 2 thread(s)", "2026-11-21 to 2026-11-23")
    assert data["difference"] == pytest.approx(90.5 - 94.58)
    assert data["difference_verdict"] == "differs"
    shown = cells(for_people(MGIAD_2, [found]), "MGiaD, c_K=64, g_s=8")
    assert shown["difference"] == "-4.08, differs"


def test_a_folder_that_is_none_and_a_file_that_is_no_record_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"x\.json is not the record of a finished run"):
        load(tmp_path)


def test_the_records_of_the_repository_can_be_read() -> None:
    assert load(Path(__file__).parents[2] / "results")
