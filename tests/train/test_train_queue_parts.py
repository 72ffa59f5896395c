"""Parts: never too large, never half-written, verified before they are used."""

import io
import json
import os
import tarfile
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmg.errors import CheckpointError
from torchmg.train.queue.parts import pack, read_index, unpack

NAMES = st.text("abc", min_size=1, max_size=3)


def every(_: str) -> bool:
    return True


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@settings(max_examples=20)
@given(st.dictionaries(NAMES.map(lambda n: f"{n}/file"), st.binary(max_size=30_000)), st.integers(1000, 40_000))
def test_there_and_back(files: dict[str, bytes], limit: int) -> None:
    with TemporaryDirectory() as name:
        root = Path(name)
        (root / "work").mkdir()
        pack(fill(root / "work", files), root / "parts", ["x"], every, limit)
        index = read_index(root / "parts")
        assert index is not None
        sizes = {path.name: path.stat().st_size for path in root.glob("parts/*.part")}
        assert sizes == {part["name"]: part["bytes"] for part in index["parts"]}
        assert all(size <= limit for size in sizes.values())
        unpack(root / "parts", root / "back")
        assert contents(root / "back") == files


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Parts of 30,000 random bytes, in pieces of 10,000 at most."""
    pack(fill(tmp_path / "work", {"a/big": os.urandom(30_000)}), tmp_path / "parts", ["one"], every, 10_000)
    assert len(list((tmp_path / "parts").iterdir())) > 4
    return tmp_path / "parts"


def test_what_is_not_kept_stays_out(tmp_path: Path) -> None:
    work = fill(tmp_path / "work", {"a/keep": b"1", "a/.half": b"2", "b/last.ckpt": b"3"})
    pack(work, tmp_path / "parts", [], lambda name: name == "a/keep")
    unpack(tmp_path / "parts", tmp_path / "back")
    assert contents(tmp_path / "back") == {"a/keep": b"1"}


def test_missing_and_damaged_parts_are_named(packed: Path, tmp_path: Path) -> None:
    second = sorted(packed.glob("*.part"))[1]
    content = second.read_bytes()
    for bad in (content[:-1], content + b"0", bytes([content[0] ^ 1]) + content[1:]):
        second.write_bytes(bad)
        with pytest.raises(CheckpointError, match=f"{second.name} is damaged"):
            unpack(packed, tmp_path / "back")
    second.unlink()
    with pytest.raises(CheckpointError, match=f"{second.name} is missing"):
        unpack(packed, tmp_path / "back")
    (packed / "index.json").unlink()
    with pytest.raises(CheckpointError, match=r"index\.json is missing beside the parts"):
        read_index(packed)


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.pop("parts"),
        lambda index: index["parts"][0].update(name="../secret"),
        lambda index: index["parts"][0].update(bytes="10"),
        lambda index: index.update(history=[1]),
        lambda index: index.update(format=2),
    ],
)
def test_a_damaged_index_is_an_error(change, packed: Path) -> None:
    path = packed / "index.json"
    index = json.loads(path.read_text())
    change(index)
    for text in (json.dumps(index), path.read_text()[:40], "[]"):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=r"index\.json (is damaged|has another format)"):
            read_index(packed)


def test_killed_while_packing_the_parts_of_before_stay(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    before = contents(tmp_path / "work")
    fill(tmp_path / "work", {"a/big": os.urandom(30_000)})
    place = "torchmg.train.queue.parts"
    for where, allowed in (("os.fsync", 2), ("write_json", 0)):
        calls = iter(range(100))

        def die(*_: object, allowed: int = allowed, calls=calls) -> None:
            if next(calls) >= allowed:
                raise KilledError

        with monkeypatch.context() as patch:
            patch.setattr(f"{place}.{where}", die)
            with pytest.raises(KilledError):
                pack(tmp_path / "work", packed, ["one", "two"], every, 10_000)
        unpack(packed, tmp_path / where)
        assert contents(tmp_path / where) == before
    pack(tmp_path / "work", packed, ["one", "two"], every, 10_000)
    unpack(packed, tmp_path / "after")
    assert contents(tmp_path / "after") == contents(tmp_path / "work") != before
    index = read_index(packed)
    assert index is not None
    assert len(list(packed.glob("*.part"))) == len(index["parts"])


@pytest.mark.parametrize("kind", ["outside", "absolute", "link"])
def test_an_archive_that_reaches_outside_is_refused(kind: str, tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        entry = tarfile.TarInfo({"outside": "../evil", "absolute": "a", "link": "link"}[kind])
        if kind == "outside":
            entry.size = 1
        else:
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc" if kind == "absolute" else "../../.."
        archive.addfile(entry, io.BytesIO(b"x"))
    part = {"name": "a.part", "bytes": len(content.getvalue()), "sha256": sha256(content.getvalue()).hexdigest()}
    index = json.dumps({"format": 1, "history": [], "parts": [part]}).encode()
    parts = fill(tmp_path / "parts", {"a.part": content.getvalue(), "index.json": index})
    with pytest.raises(CheckpointError, match="cannot be unpacked"):
        unpack(parts, tmp_path / "new" / "back")
    assert not (tmp_path / "new" / "evil").exists()


def test_names_of_users_do_not_travel(tmp_path: Path) -> None:
    pack(fill(tmp_path / "work", {"a": b""}), tmp_path / "parts", [], every)
    (part,) = tmp_path.glob("parts/*.part")
    with tarfile.open(part) as archive:
        assert [(entry.uid, entry.gid, entry.uname, entry.gname) for entry in archive] == [(0, 0, "", "")]
