"""What docs/convert.md says in code runs, one example after the other."""

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "convert.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    examples = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(examples) == 4
    for number, example in enumerate(examples):
        exec(compile(example, f"example {number}", "exec"), namespace)
    assert (tmp_path / "small" / "model.safetensors").is_file()


def test_files_and_options_that_it_names_exist() -> None:
    from torchmg.train.recipe import Recipe

    for path in set(re.findall(r"`(benchmarks/\w+\.py)`", PAGE)):
        assert (ROOT / path).exists(), path
    for option in set(re.findall(r"`--(distill-\w+)`", PAGE)):
        assert hasattr(Recipe(), option.replace("-", "_")), option
