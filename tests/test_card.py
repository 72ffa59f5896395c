"""Cards of runs: every number is the record's, every word follows from the record, and nothing else is said."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shipping import SMALL, finished_run

from torchmg.card import Finished, finished, run_card
from torchmg.errors import CheckpointError, UsageError
from torchmg.models.options import ModelOptions
from torchmg.train.recipe import Recipe, recipe

ROOT = Path(__file__).resolve().parent.parent
RECORDS = sorted((ROOT / "results").rglob("*_s0.json"))


def record(**changes: Any) -> dict[str, Any]:
    """A record with numbers that no run has."""
    here = {"torchmg": "0.0.7", "torch": "2.99.1", "device": "cpu", "processor": "Abacus", "threads": 3}
    return {
        "command": "torchmg train something",
        "parameters": 1_234_567,
        "macs": 7_654_321,
        "input": [1, 28, 28],
        "train_loss": 0.12345,
        "train_accuracy": 97.5,
        "test_loss": 0.54321,
        "test_accuracy": 91.25,
        "seconds": 4321.5,
        "steps": 5628,
        "data": {"train_pixels": "ab" * 32, "test_pixels": "cd" * 32},
        "environment": {**here, "date": "2001-02-03"},
        **changes,
    }


def card(made: Recipe, **changes: Any) -> str:
    return run_card(Finished(made, record(**changes)))


def header(text: str) -> dict[str, Any]:
    _, head, _ = text.split("---\n", 2)
    return {key: json.loads(value) for key, _, value in (line.partition(": ") for line in head.splitlines())}


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


MGIAD = recipe("mgiad_fashion_mnist_mgiad20", options=ModelOptions(group_size=8, coarsest=16))


def test_it_holds_what_the_record_says() -> None:
    text = card(MGIAD)
    for part, words in {
        "Scores": ["| train | 0.1235 | 97.50 |", "| test | 0.5432 | 91.25 |", "| gap, train minus test |  | 6.25 |"],
        "Training": [
            "```\ntorchmg train something\n```",
            "| epochs | 400 |",
            "| steps | 5,628 |",
            "| seed | 0 |",
            "| seconds | 4,321.5 |",
            "| device | cpu, Abacus, threads 3 |",
            "| versions | torchmg 0.0.7, torch 2.99.1 |",
            "| date | 2001-02-03 |",
        ],
        "Data": ["70,000 grey pictures of clothes", "Terms: MIT, Zalando", f"| test_pixels | {'cd' * 32} |"],
    }.items():
        assert all(line in section(text, part) for line in words), part
    for line in (
        "\n# fashion_mnist_mgiad20, seed 0\n",
        "`mgiad20`, group_size=8, coarsest=16. Its dense twin is `resnet20`.",
        'Paper: van Betteray, Rottmann, Kahl, "MGiaD: Multigrid in all dimensions"',
        "| parameters | 1,234,567 |",
        "| MACs, one sample of 1x28x28 | 7,654,321 |",
    ):
        assert line in text


def test_the_hub_reads_the_header() -> None:
    found = header(run_card(Finished(MGIAD, record()), license="apache-2.0"))
    (index,) = found.pop("model-index")
    assert found == {
        "license": "apache-2.0",
        "library_name": "torchmg",
        "tags": ["torchmg", "multigrid", "image-classification"],
        "pipeline_tag": "image-classification",
        "datasets": ["fashion_mnist"],
    }
    (result,) = index["results"]
    assert (result["dataset"]["type"], result["metrics"][0]["value"]) == ("fashion_mnist", 91.25)
    assert "license" not in header(card(MGIAD))


def test_tasks_that_the_hub_has_no_words_for() -> None:
    clouds = header(card(recipe("modelnet10_dgcnn")))
    assert clouds == {"library_name": "torchmg", "tags": ["torchmg", "multigrid"], "datasets": ["modelnet10"]}
    masks = recipe("qtips")
    text = card(masks, train_miou=61.0, test_miou=51.5, test_classes={"bar": 40.126, "end": 62.5})
    assert header(text)["model-index"][0]["results"][0]["metrics"][0] == {
        "type": "mean_iou",
        "name": "mIoU %",
        "value": 51.5,
    }
    assert "| bar | 40.13 |" in section(text, "Scores")
    numbers = card(recipe("functions"), train_explained=99.5, test_explained=99.25)
    assert "| test | 0.5432 | 99.25 |" in section(numbers, "Scores")


def test_the_papers_row_stands_beside_with_what_differs() -> None:
    whole = section(card(MGIAD), "Limitations")
    row = "| MGiaD, Table IV | MGiaD, c_K=16, g_s=8 | 93.35 (0.09) | 97.63 | 91.25 | 97.50 |"
    assert f"{row} - |" in whole
    assert "shortened" not in whole
    assert "No row" not in whole
    short = section(card(replace(MGIAD, epochs=12, lr=0.1)), "Limitations")
    assert f"{row} 12 of 400 epochs; lr 0.1 |" in short
    assert "shortened to 12 of the 400 epochs of torchmg's recipe `mgiad_fashion_mnist`" in short
    part = section(card(replace(MGIAD, subset=2000)), "Limitations")
    assert "subset 2000 |" in part
    assert "a part of the training samples" in part


@pytest.mark.parametrize(
    "other",
    [
        replace(MGIAD, options=ModelOptions(group_size=2, coarsest=16)),
        replace(MGIAD, data="cifar10"),
        recipe("digits_mgiad20"),
    ],
    ids=["other options", "other data", "data of no paper"],
)
def test_runs_of_no_row(other: Recipe) -> None:
    found = section(card(other), "Limitations")
    assert "No row of the papers' tables in torchmg has this network on this data." in found
    assert "MGiaD, Table" not in found


def test_epochs_are_those_of_the_recipe_that_was_changed() -> None:
    assert "| epochs | 5 of 200 |" in card(recipe("fashion_mnist_resnet20", epochs=5))
    assert "| epochs | 300 |" in card(recipe("fashion_mnist_resnet20", epochs=300))
    assert "| epochs | 20 |" in card(recipe("digits_mgiad20"))


def test_the_score_with_the_mirror_image_stands_beside_the_plain_one() -> None:
    scores = section(card(MGIAD, test_flip_accuracy=91.75, test_flip_loss=0.4), "Scores")
    assert "| test | 0.5432 | 91.25 |\n| test, with the mirror image | 0.4000 | 91.75 |\n| gap" in scores
    assert "| gap, train minus test |  | 6.25 |" in scores
    assert "mirror" not in card(MGIAD)


def test_what_a_record_lacks_is_not_mentioned() -> None:
    bare = {key: record()[key] for key in ("parameters", "macs", "train_accuracy", "test_accuracy")}
    text = run_card(Finished(recipe("digits_mgiad20"), bare))
    assert "None" not in text
    assert "| MACs | 7,654,321 |" in text
    assert "```\ntorchmg train digits_mgiad20\n```" in text
    for word in ("seconds", "device", "versions", "date", "sha256", "teacher", "first weights"):
        assert f"| {word} |" not in text


def test_where_the_weights_are() -> None:
    assert "The weights are not with this record" in section(card(SMALL), "Load")
    assert "## Evaluate" not in card(SMALL)
    run = run_card(Finished(SMALL, record(), folder="a_run"))
    assert 'RunFolder.existing(Path("a_run"))' in section(run, "Load")
    assert section(run, "Evaluate").split() == ["```", "torchmg", "eval", "a_run", "```"]
    shipped = run_card(Finished(MGIAD, record(), weights="fashion_mnist_r1"))
    assert 'torchmg.create("mgiad20", weights="fashion_mnist_r1").eval()' in section(shipped, "Load")
    assert "torchmg eval mgiad20 --weights fashion_mnist_r1 --data-dir DATA_DIR\n" in shipped
    assert "\n# mgiad20, fashion_mnist_r1\n" in shipped


def test_networks_of_no_catalogue() -> None:
    text = card(Recipe(model="some/where/net.py:tiny"))
    assert "`net.py:tiny`, a network that is not of torchmg's catalogue." in text
    assert "some/where" not in text
    assert "Paper" not in text


@pytest.mark.parametrize("path", RECORDS, ids=[path.stem for path in RECORDS])
def test_every_committed_record_has_a_card(path: Path) -> None:
    values = json.loads(path.read_text())
    text = run_card(finished(path))
    assert f"| parameters | {values['parameters']:,} |" in text
    for split in ("train", "test"):
        keys = [f"{split}_{key}" for key in ("miou", "accuracy", "explained")]
        score = next(values[key] for key in keys if key in values)
        assert re.search(rf"^\| {split} \| \S+ \| {score:.2f} \|$", text, re.MULTILINE)
    assert f"```\n{values['command']}\n```" in text
    assert "None" not in text


# ---- what is no finished run


def test_a_run_folder(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "a_run")
    from_folder, from_file = finished(run), finished(run / "record.json")
    assert from_folder.folder == "a_run"
    assert from_file.folder is None
    assert from_folder.recipe == from_file.recipe == SMALL
    assert section(run_card(from_folder), "Scores") == section(run_card(from_file), "Scores")


def test_what_its_card_says_to_do_loads_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(tmp_path / "a_run")
    (code,) = re.findall(r"```python\n(.*?)```", run_card(finished(run)), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(compile(code, "card", "exec"), made)
    from safetensors.torch import load_file

    stored = load_file(run / "last.safetensors")
    assert all(made["net"].state_dict()[name].equal(tensor) for name, tensor in stored.items())
    assert not made["net"].training


def test_an_unfinished_run(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    (run / "record.json").unlink()
    with pytest.raises(UsageError, match=r"is not finished\. Finish it first: torchmg train --resume"):
        finished(run)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"record": 3}', '{"recipe": {}}'])
def test_files_that_are_no_record(text: str, tmp_path: Path) -> None:
    (tmp_path / "some.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"some\.json"):
        finished(tmp_path / "some.json")
    with pytest.raises(CheckpointError, match="nothing"):
        finished(tmp_path / "nothing.json")


def test_a_damaged_record_of_a_run(tmp_path: Path) -> None:
    path = finished_run(tmp_path / "run") / "record.json"
    path.write_text(path.read_text().replace('"steps": 900', '"steps": 901'))
    with pytest.raises(CheckpointError, match=r"record\.json is damaged"):
        finished(path.parent)
