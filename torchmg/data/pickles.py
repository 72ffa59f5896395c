"""Reading a pickle as data: its instructions are interpreted here, and none of them can run code.

`pickle.loads` calls whatever a file asks for, and even with its look-up restricted it can be made to fill the
memory. Data files need numbers, text, lists, dictionaries and NumPy arrays, and nothing more, so this small
machine knows nothing more. It reads what Python 2 and 3 write, protocols 0 to 5.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torchmg.data.rawarray import Dtype, RawArray, RefusedError, text


def read_pickle(data: bytes, limit: int) -> Any:
    """What a pickle holds, with `RawArray` in the place of arrays.

    Args:
        data: The whole file.
        limit: How many instructions it may have; a guard against files made to keep a reader busy.

    Raises:
        RefusedError: Damaged, too long, or asking for anything but plain data.
    """
    machine = _Machine(spare=len(data))
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count >= limit:
                raise RefusedError(f"has more than {limit:,} pickle instructions")
            machine.step(opcode.name, argument)
        (result,) = machine.stack
    except RefusedError:
        raise
    # What stray bytes provoke: too little on the stack, the wrong kind of thing there, text that is no number.
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:
        detail = str(error)[:100] or type(error).__name__
        raise RefusedError(f"is not a whole pickle ({detail})") from None
    return result


_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES "
    "SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8".split()
)
_MAKERS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_NAMES = {
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "numpy.core.multiarray._reconstruct": "reconstruct",
    "numpy._core.multiarray._reconstruct": "reconstruct",
    "numpy.core.numeric._frombuffer": "frombuffer",
    "numpy._core.numeric._frombuffer": "frombuffer",
    "_codecs.encode": "encode",
}
"""The only globals a file may mention. They are never looked up: `_Machine.call` says what each means."""


@dataclass(frozen=True)
class _Name:
    """A global that the file mentions, by its meaning here."""

    meaning: str


class _Machine:
    """The stack and the memo that pickle instructions work on."""

    def __init__(self, spare: int) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.spare = spare

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _MAKERS:
            self.stack.append(_MAKERS[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif handler := getattr(self, f"do_{name.lower()}", None):
            handler(argument)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise RefusedError(f"uses the pickle instruction {name}, which no data file needs; refused as unsafe")

    def do_mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def do_tuple(self, _: Any) -> None:
        items = self.pop_mark()
        self.stack.append(tuple(items))

    def do_tuple1(self, _: Any, count: int = 1) -> None:
        items = tuple(self.stack.pop() for _ in range(count))
        self.stack.append(items[::-1])

    def do_tuple2(self, _: Any) -> None:
        self.do_tuple1(_, 2)

    def do_tuple3(self, _: Any) -> None:
        self.do_tuple1(_, 3)

    def do_list(self, _: Any) -> None:
        items = self.pop_mark()
        self.stack.append(items)

    def do_append(self, _: Any) -> None:
        self.extend([self.stack.pop()])

    def do_appends(self, _: Any) -> None:
        self.extend(self.pop_mark())

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise RefusedError("appends to something that is not a list")
        self.stack[-1].extend(items)

    def do_dict(self, _: Any) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self.update(items)

    def do_setitem(self, _: Any) -> None:
        value = self.stack.pop()
        self.update([self.stack.pop(), value])

    def do_setitems(self, _: Any) -> None:
        self.update(self.pop_mark())

    def update(self, items: list[Any]) -> None:
        # Hashing a tuple nested deep enough overflows the C stack; text as a key cannot.
        if not all(isinstance(key, str | bytes) for key in items[::2]):
            raise RefusedError("has a dictionary key that is not text")
        if not isinstance(self.stack[-1], dict):
            raise RefusedError("sets an item of something that is not a dictionary")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def do_global(self, argument: str) -> None:
        path = argument.replace(" ", ".", 1)
        if path not in _NAMES:
            raise RefusedError(f"asks for {path[:100]}, which no data file needs; refused as unsafe")
        self.stack.append(_Name(_NAMES[path]))

    def do_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.do_global(f"{text(module)} {text(name)}")

    def do_inst(self, argument: str) -> None:
        self.do_global(argument)
        raise RefusedError("builds an object the oldest way; refused as unsafe")

    def do_reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self.call(function, arguments))

    def do_build(self, _: Any) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Dtype | RawArray):
            raise RefusedError("sets the state of something that is not an array")
        self.stack[-1].build(state)

    def call(self, function: Any, arguments: Any) -> Any:
        """What the few functions that NumPy arrays are pickled with return here."""
        match function, arguments:
            case _Name("reconstruct"), (_Name("ndarray"), _, _):
                return RawArray()
            case _Name("frombuffer"), (data, dtype, shape, order):
                return RawArray(dtype, shape, order == "F", data)
            case _Name("dtype"), (code, _, _):
                return Dtype(code)
            case _Name("encode"), (str() as letters, "latin1" | "latin-1"):
                # Each letter may become a byte once: a file that repeats itself wants to fill the memory.
                self.spare -= len(letters)
                if self.spare < 0:
                    raise RefusedError("repeats its content to fill the memory")
                return letters.encode("latin-1")
        called = function.meaning if isinstance(function, _Name) else f"a {type(function).__name__}"
        raise RefusedError(f"calls {called} in a way no data file does; refused as unsafe")
