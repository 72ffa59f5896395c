"""Q-tips from recipe to picture: dense prediction of grey pictures that are made when asked for."""

from pathlib import Path

from torchmg import plot
from torchmg.models.options import ModelOptions
from torchmg.train.loop import fit
from torchmg.train.recipe import recipe


def test_a_run_on_qtips_is_scored_and_drawn(tmp_path: Path) -> None:
    options = ModelOptions(width=1 / 16, steps=1)
    run = fit(recipe("qtips_imexnet", options=options, epochs=1, subset=8), folder=tmp_path / "run", quiet=True)
    assert run.record["input"] == [1, 64, 64]
    assert 0 <= run.record["test_miou"] <= 100
    assert set(run.record["test_classes"]) <= {"background", "white-white", "white-black", "black-black"}
    picture = plot.predictions([run.folder], tmp_path / "picture", samples=2)
    assert all(file.stat().st_size for file in picture.files)
