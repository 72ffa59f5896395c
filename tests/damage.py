"""What can happen to a file, as hypothesis chooses it; and pickles that run a command when they are loaded."""

import copyreg
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

KINDS = ["cut", "flip", "flip", "overwrite", "hole", "grown", "empty", "swap", "missing", "folder", "pipe", "dangling"]


def damage(data: st.DataObject, path: Path, others: Sequence[Path]) -> bool:
    """Damage the file at `path`; `others` are what may be copied in its place. Whether its bytes are still the same."""
    kind, old = data.draw(st.sampled_from(KINDS), "kind"), path.read_bytes()
    place = data.draw(st.integers(0, len(old) - 1), "place")
    path.unlink()
    match kind:
        case "cut":
            path.write_bytes(old[:place])
        case "flip":
            bit = data.draw(st.integers(0, 7), "bit")
            path.write_bytes(old[:place] + bytes([old[place] ^ 1 << bit]) + old[place + 1 :])
        case "overwrite":
            new = data.draw(st.binary(min_size=1, max_size=8), "new")
            path.write_bytes((old[:place] + new + old[place + len(new) :])[: len(old)])
        case "hole":
            size = min(data.draw(st.integers(1, 600), "size"), len(old) - place)
            path.write_bytes(old[:place] + bytes(size) + old[place + size :])
        case "grown":
            path.write_bytes(old + data.draw(st.binary(min_size=1, max_size=50), "new"))
        case "empty":
            path.touch()
        case "swap":
            shutil.copy(data.draw(st.sampled_from([other for other in others if other != path]), "other"), path)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "dangling":
            path.symlink_to("nowhere")
    return path.is_file() and path.read_bytes() == old


def attempt(action: Callable[[], Any], error: type[Exception]) -> tuple[Any, str]:
    """What `action` returns and "", or None and what its error of this kind says; other errors pass."""
    try:
        return action(), ""
    except error as raised:
        return None, str(raised)


# ---- pickles that run a command


class Loaded:
    """Its state is a command."""

    def __setstate__(self, command: str) -> None:
        os.system(command)


class Made:
    """So is what it is made from."""

    def __new__(cls, command: str) -> Any:
        os.system(command)
        return super().__new__(cls)


EXTENSION = 238
copyreg.add_extension("os", "system", EXTENSION)  # pyright: ignore[reportArgumentType]

ATTACKS = [
    "REDUCE of text",
    "GLOBAL, REDUCE",
    "STACK_GLOBAL, REDUCE",
    "INST",
    "OBJ",
    "NEWOBJ",
    "NEWOBJ_EX",
    "BUILD",
    "EXT1",
    "EXT2",
    "EXT4",
    "in a list of tuples",
    "in a dictionary",
    "as a persistent id",
]


def attack(name: str, command: str) -> bytes:
    """Pickle instructions that put one object on the stack and, where `pickle` follows them, run `command`."""
    text = b"X" + len(command).to_bytes(4, "little") + command.encode()
    plain = b"cos\nsystem\n" + text + b"\x85R"
    return {
        "REDUCE of text": b"cos\nsystem\n(V" + command.encode() + b"\ntR",
        "GLOBAL, REDUCE": plain,
        "STACK_GLOBAL, REDUCE": b"\x8c\x02os\x8c\x06system\x93" + text + b"\x85R",
        "INST": b"(" + text + b"ios\nsystem\n",
        "OBJ": b"(cos\nsystem\n" + text + b"o",
        "NEWOBJ": b"cdamage\nMade\n" + text + b"\x85\x81",
        "NEWOBJ_EX": b"cdamage\nMade\n" + text + b"\x85}\x92",
        "BUILD": b"cdamage\nLoaded\n)R" + text + b"b",
        "EXT1": b"\x82" + EXTENSION.to_bytes(1, "little") + text + b"\x85R",
        "EXT2": b"\x83" + EXTENSION.to_bytes(2, "little") + text + b"\x85R",
        "EXT4": b"\x84" + EXTENSION.to_bytes(4, "little") + text + b"\x85R",
        "in a list of tuples": b"](K\x01" + plain + b"\x85\x85e",
        "in a dictionary": b"}U\x01a}U\x01b" + plain + b"ss",
        "as a persistent id": plain + b"Q",
    }[name]
