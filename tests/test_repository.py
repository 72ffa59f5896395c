"""The repository itself: nothing in it that ties it to one machine, and no two places that disagree."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEST_COMMAND = "pip install uv && uv run pytest"
# In parts, so that this file does not hold what it forbids.
HOSTS = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("download.pytorch", "org"))]
FORBIDDEN = re.compile("|".join(map(re.escape, HOSTS)) + r"|(?<![\w.])/(?:home|root|work|Users)/(?=\w)")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict:
    return tomllib.loads(read("pyproject.toml"))


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Every tracked file; skips outside a checkout, as in an unpacked source archive."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    try:
        listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"git does not answer: {error}")
    return [name for name in listing.decode().split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def pin() -> ModuleType:
    """tools/pin.py as a module."""
    spec = importlib.util.spec_from_file_location("pin", ROOT / "tools" / "pin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pin"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_no_tracked_file_names_a_registry_or_a_machine(tracked: list[str]) -> None:
    found = []
    for name in tracked:
        raw = (ROOT / name).read_bytes()
        if b"\0" in raw[:8192]:
            continue
        for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), start=1):
            if match := FORBIDDEN.search(line):
                found.append(f"{name}:{number}: {match[0]}")
    assert not found, "\n".join(found)


def test_no_lock_file_is_tracked(tracked: list[str]) -> None:
    assert not [name for name in tracked if Path(name).name == "uv.lock"]


def test_forbidden_words_are_recognised() -> None:
    slash = "/"
    for text in [f"https://{HOSTS[0]}/simple", f"files.{HOSTS[1]}", f'"{slash}home/me/x"', f"={slash}work/main"]:
        assert FORBIDDEN.search(text), text
    for text in [
        f"network{slash}work{slash}layer",
        "https://example.com/home/page",
        f".{slash}work{slash}data",
        "~/data",
    ]:
        assert not FORBIDDEN.search(text), text


def test_pins_agree(pin: ModuleType) -> None:
    pins = pin.parse(read("requirements.txt"))
    assert pin.disagreement(read("pyproject.toml"), pins) == []
    direct = {re.split(r"[^\w-]", line)[0] for line in project()["project"]["dependencies"]}
    assert direct <= {found.name for found in pins}


HASH = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


@pytest.mark.parametrize(
    "text",
    [
        "one==1\n",
        "one==1 \\\n",
        "one>=1 \\\n    --hash=" + HASH,
        "one @ https://example.com/one.whl \\\n    --hash=" + HASH,
        "--index-url https://example.com\none==1 \\\n    --hash=" + HASH,
        "one==1 \\\n    --hash=sha256:12",
    ],
)
def test_pins_refuse_what_is_no_version_with_hashes(pin: ModuleType, text: str) -> None:
    with pytest.raises(ValueError, match=r"requirements\.txt"):
        pin.parse(text)


def test_pins_tell_changed_files_from_added_ones(pin: ModuleType) -> None:
    def pins(version: str, *hashes: str) -> list:
        return pin.parse(f"one=={version} \\\n" + " \\\n".join(f"    --hash={digest}" for digest in hashes))

    assert pin.drift(pins("1", HASH), pins("1", HASH, OTHER)) == []
    assert "changed or gone" in pin.drift(pins("1", HASH), pins("1", OTHER))[0]
    assert len(pin.drift(pins("1", HASH), pins("2", HASH))) == 2


def test_pins_keep_markers_where_versions_differ(pin: ModuleType) -> None:
    lines = [
        "one==1 ; python_full_version < '3.12'",
        "one==2 ; python_full_version >= '3.12'",
        "two==1 ; os_name == 'nt'",
    ]
    pins = pin.parse("".join(f"{line} \\\n    --hash={HASH}\n" for line in lines))
    assert pin.constraints(pins) == [*lines[:2], "two==1"]


def test_modules_stay_short() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "torchmg").rglob("*.py")}
    assert not {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > 400}


def test_documented_commands() -> None:
    assert "pip install uv && uv run torchmg compare" in read("README.md")
    assert TEST_COMMAND in read("README.md")
    assert TEST_COMMAND in read(".ci/run")


def test_one_version_everywhere() -> None:
    version = project()["project"]["version"]
    stated = {
        "CITATION.cff": re.search(r"^version: (\S+)$", read("CITATION.cff"), re.MULTILINE),
        "CHANGELOG.md": re.search(r"^## \[(\d[^]]*)\]", read("CHANGELOG.md"), re.MULTILINE),
        "torchmg/__init__.py": re.search(r'^__version__ = "(.+)"$', read("torchmg/__init__.py"), re.MULTILINE),
    }
    assert {name: match and match[1] for name, match in stated.items()} == dict.fromkeys(stated, version)
