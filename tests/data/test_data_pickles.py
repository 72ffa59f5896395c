import pickle
import struct
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmg.data.pickles import read_pickle
from torchmg.data.rawarray import RawArray, RefusedError

ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 12)


def read(data, limit=100_000):
    return read_pickle(data, limit)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(min_size=1),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.binary(min_size=1), inner) | st.tuples(inner, inner),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(plain, st.integers(2, 5))
def test_plain_data_reads_as_the_standard_library_reads_it(value, protocol):
    assert read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["u1", "i8", ">i4", "<f4", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays(protocol, dtype, order):
    array = np.asarray(ARRAY.astype(dtype), order=order)
    raw = read(pickle.dumps({"data": array}, protocol))["data"]
    assert isinstance(raw, RawArray)
    assert raw.numpy().dtype == array.dtype
    assert np.array_equal(raw.numpy(), array)


@pytest.mark.parametrize("old", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_both_homes_of_numpy(old):
    data = pickle.dumps(ARRAY, 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    data = data.replace(b"numpy.core.multiarray", old)
    assert np.array_equal(read(data).numpy(), ARRAY)


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def never(*_):
    raise AssertionError("the pickle ran code")


GLOBALS = {
    "os.system": b"cos\nsystem\n(S'false'\ntR.",
    "posix.system": b"cposix\nsystem\n(S'false'\ntR.",
    "builtins.eval": pickle.dumps(Evil(eval, "never()")),
    "__builtin__.eval": pickle.dumps(Evil(eval, "never()"), 2),
    "builtins.exec": pickle.dumps(Evil(exec, "never()"), 4),
    "builtins.getattr": b"cbuiltins\ngetattr\n.",
    "__builtin__.bytearray": b"c__builtin__\nbytearray\n(L1000000000000L\ntR.",
    "builtins.bytearray": pickle.dumps(Evil(bytearray, 10**12)),
    "numpy.zeros": b"cnumpy\nzeros\n(L1000000000000L\ntR.",
    "numpy.load": b"cnumpy\nload\n(S'x'\ntR.",
    "numpy.f2py.compile": b"cnumpy.f2py\ncompile\n.",
    "numpy.core.multiarray.scalar": b"cnumpy.core.multiarray\nscalar\n.",
    "numpy.testing._private.utils.runstring": b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n}tR.",
    "numpy.ndarray.tofile": b"cnumpy\nndarray.tofile\n.",
    "_codecs.decode": b"c_codecs\ndecode\n.",
    "subprocess.Popen": b"(S'false'\nisubprocess\nPopen\n.",
    "test_data_pickles.never": b"ctest_data_pickles\nnever\n)R.",
}
GLOBALS = {name: (data[:-1].replace(b"(S'false'\ni", b"(i") + b".") for name, data in GLOBALS.items()}


@pytest.mark.parametrize("name", GLOBALS)
def test_other_globals_are_refused_by_name(name):
    before = set(sys.modules)
    with pytest.raises(RefusedError, match=f"asks for {name}, which no data file needs"):
        read(GLOBALS[name])
    assert set(sys.modules) == before


def stack_global(module, name):
    return b"\x80\x04" + b"".join(b"\x8c" + bytes([len(text)]) + text for text in (module, name)) + b"\x93"


DEEP = b"N" + b"\x85" * 40_000
DANGERS = {
    "stack global": (stack_global(b"os", b"system") + b".", "asks for os.system"),
    "spaces in a name": (stack_global(b"numpy dtype", b"x") + b".", "asks for numpy.dtype x"),
    "name of no text": (b"\x80\x04K\x01K\x02\x93.", "where a name belongs"),
    "inst": (b"(ios\nsystem\n.", "asks for os.system"),
    "inst of ours": (b"(inumpy\nndarray\n.", "oldest way"),
    "obj": (b"(cnumpy\nndarray\no.", "instruction OBJ"),
    "newobj": (b"\x80\x02cnumpy\nndarray\n)\x81.", "instruction NEWOBJ"),
    "extension": (b"\x80\x02\x82\x01.", "instruction EXT1"),
    "persistent": (b"Pid\n.", "instruction PERSID"),
    "out of band": (b"\x80\x05\x97.", "instruction NEXT_BUFFER"),
    "giant ndarray": (b"cnumpy\nndarray\n(L1000000000000L\ntR.", "calls ndarray"),
    "call of a number": (b"I1\n)R.", "calls a int"),
    "call without a tuple": (b"cnumpy\ndtype\nI1\nR.", "calls dtype"),
    "object array": (pickle.dumps(np.array([None])), "of type 'O8'"),
    "structured array": (pickle.dumps(np.zeros(2, "i4,f4")), "of type 'V8'"),
    "text array": (pickle.dumps(np.array(["a"])), "of type 'U1'"),
    "state of a dict": (b"}}b.", "state of something"),
    "state of no tuple": (pickle.dumps(ARRAY, 2)[:-1] + b"Nb.", "not a whole pickle"),
    "memo index": (b"Nr\xff\xff\xff\xffh\x00.", "not a whole pickle"),
    "lengths beyond the file": (b"\x80\x05\x96" + struct.pack("<Q", 10**12) + b".", "not a whole pickle"),
    "text beyond the file": (b"X\xff\xff\xff\x7fa.", "not a whole pickle"),
    "deep key": (b"}" + DEEP + b"Ns.", "key that is not text"),
    "deep dtype": (b"cnumpy\ndtype\n" + DEEP + b"\x89\x88\x87R.", "where a name belongs"),
    "deep module": (DEEP + DEEP + b"\x93.", "where a name belongs"),
    "item of a list": (b"]S'a'\nNs.", "not a dictionary"),
    "append to a dict": (b"}Na.", "not a list"),
    "odd items": (b"}(S'a'\nu.", "not a whole pickle"),
    "long decimal": (b"I" + b"9" * 10_000 + b"\n.", "not a whole pickle"),
    "nothing": (b"", "not a whole pickle"),
    "no stop": (b"N", "not a whole pickle"),
    "empty stack": (b".", "not a whole pickle"),
    "two results": (b"NN.", "not a whole pickle"),
    "no pickle": (b"<html>not found</html>", "not a whole pickle"),
    "no mark": (b"t.", "not a whole pickle"),
    "busy": (b"N0" * 60_000 + b"N.", "instruction POP|more than"),
    "long": (b"N" * 200_000 + b".", "more than 100,000 pickle instructions"),
}


@pytest.mark.parametrize("danger", DANGERS)
def test_dangers(danger):
    data, words = DANGERS[danger]
    with pytest.raises(RefusedError, match=words):
        read(data)


def test_repeated_conversion_does_not_fill_the_memory():
    letters = b"X" + struct.pack("<I", 10**6) + b"a" * 10**6
    again = b"0c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    with pytest.raises(RefusedError, match="repeats its content"):
        read(letters + b"q\x00" + again.replace(b"0", b"", 1) * 1000 + b".")


@pytest.mark.parametrize(
    "state",
    [
        (1, (3, 12), np.dtype("u1"), False, bytes(24)),
        (1, (10**12,), np.dtype("u1"), False, bytes(24)),
        (1, (-2, -12), np.dtype("u1"), False, bytes(24)),
        (1, (2**600, 0), np.dtype("u1"), False, b"a"),
        (1, (True,) * 9, np.dtype("u1"), False, b"a"),
        (1, [2, 12], np.dtype("u1"), False, bytes(24)),
        (1, (2.0, 12.0), np.dtype("u1"), False, bytes(24)),
        (1, (2, 12), "u1", False, bytes(24)),
        (1, (2, 12), np.dtype("u1"), False, list(range(24))),
        (1, (2, 12), np.dtype("u1"), False, "\u20ac" * 25),
        (1, None, None, None, None),
    ],
)
def test_arrays_whose_parts_disagree(state):
    start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    raw = read(b"\x80\x02" + start + pickle.dumps(state, 2)[2:-1] + b"b.")
    with pytest.raises(RefusedError, match="holds an array"):
        raw.numpy()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_never_do_more_than_refuse(data):
    good = pickle.dumps({b"data": ARRAY, "labels": [1, 2], "names": ("a", 1.5, None)}, data.draw(st.integers(0, 5)))
    spoilt = bytearray(good[: data.draw(st.integers(0, len(good)))])
    for _ in range(data.draw(st.integers(0, 5))):
        if spoilt:
            spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    try:
        result = read(bytes(spoilt))
        for value in result.values() if isinstance(result, dict) else ():
            if isinstance(value, RawArray):
                value.numpy()
    except RefusedError:
        pass
