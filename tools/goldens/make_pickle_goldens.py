"""Makes crates/files/fixtures/pickle/: what CPython's own unpickler does with pickles, and pickles of other people's writers.

Run with Python 3.11, numpy 2.4.6 and joblib 1.5.1; the output is the same each time.
Ours to give away: MIT OR Apache-2.0, like the rest of the repository.

opcodes.txt   byte, name, protocol and kind of argument of each opcode, from `pickletools`
values.txt    pickle (hex), what it makes: `pickle._Unpickler` runs it, with recorders in the place of imports
arrays.joblib arrays between opcodes (joblib), and a text behind them
objects.joblib an array of Python objects: a pickle in a pickle
"""

import collections
import datetime
import decimal
import fractions
import io
import pathlib
import pickle
import pickletools

import joblib
import numpy

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/files/fixtures/pickle"


class Recorder:
    """Stands for an import or for the result of a call, and writes down what is done to it."""

    def __new__(cls, *args):
        if isinstance(cls, Recorder):  # NEWOBJ: `callee.__new__(callee, *args)`
            return record(cls, ".__new__(", args, ")")
        return object.__new__(cls)

    def __call__(self, *args):
        return record(self, "(", args, ")")

    def note(self, method, items):
        self.parts += (f".{method}(", tuple(items), ")")

    def __setstate__(self, state):
        self.note("build", [state])

    def append(self, item):
        self.note("append", [item])

    def extend(self, items):
        self.note("append", items)

    def text(self):
        # A tuple is what stands between brackets.
        return "".join(part if isinstance(part, str) else shown(part) for part in self.parts)


def record(*parts):
    recorder = object.__new__(Recorder)
    recorder.parts = [part if isinstance(part, (str, tuple)) else (part,) for part in parts]
    return recorder


def shown(items):
    return ", ".join(show(item) for item in items)


def quoted(before, codes):
    text = ""
    for code in codes:
        char = chr(code)
        if char == "\n":
            text += "\\n"
        elif char in "'\\":
            text += "\\" + char
        elif " " <= char <= "~":
            text += char
        elif code < 0x100:
            text += f"\\x{code:02x}"
        else:
            text += char if char.isalnum() else f"\\u{{{code:x}}}"
    return f"{before}'{text}'"


def show(value):
    """As `Heap::expression` shows it."""
    if isinstance(value, Recorder):
        return value.text()
    if isinstance(value, str):
        return quoted("", map(ord, value))
    if isinstance(value, bytes):
        return quoted("b", value)
    if isinstance(value, bytearray):
        return quoted("bytearray(b", value) + ")"
    if isinstance(value, tuple):
        return f"({shown(value)},)" if len(value) == 1 else f"({shown(value)})"
    if isinstance(value, list):
        return f"[{shown(value)}]"
    if isinstance(value, frozenset):
        return f"frozenset({{{shown(value)}}})"
    if isinstance(value, set):
        return f"{{{shown(value)}}}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{show(key)}: {show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**127) <= value < 2**127:
        return "a large int"
    assert value is None or isinstance(value, (bool, int, float)), type(value)
    return repr(value)


class Unpickler(pickle._Unpickler):
    def find_class(self, module, name):
        return record(f"{module}.{name}")

    def persistent_load(self, pid):
        return record("persistent(", (pid,), ")")

    def get_extension(self, code):
        self.append(record(f"extension({code})"))


# Places in which CPython looks at what it has made; a recorder is none of it.
def load_stack_global(self):
    name, module = self.stack.pop(), self.stack.pop()
    assert type(name) is str and type(module) is str
    self.append(self.find_class(module, name))


def load_newobj_ex(self):
    kwargs, args, cls = self.stack.pop(), self.stack.pop(), self.stack.pop()
    self.append(record(cls, ".__new__(*", (args,), ", **", (kwargs,), ")"))


# CPython writes items one by one.
def load_setitem(self):
    value, key = self.stack.pop(), self.stack.pop()
    put_items(self.stack[-1], "set_items", [key, value])


def load_setitems(self):
    items = self.pop_mark()
    put_items(self.stack[-1], "set_items", items)


def load_additems(self):
    items = self.pop_mark()
    put_items(self.stack[-1], "add", items)


def put_items(target, method, items):
    if isinstance(target, Recorder):
        target.note(method, items)
    elif method == "add":
        target.update(items)
    else:
        target.update(zip(items[::2], items[1::2]))


Unpickler.dispatch = dict(pickle._Unpickler.dispatch)
Unpickler.dispatch[pickle.STACK_GLOBAL[0]] = load_stack_global
Unpickler.dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
Unpickler.dispatch[pickle.SETITEM[0]] = load_setitem
Unpickler.dispatch[pickle.SETITEMS[0]] = load_setitems
Unpickler.dispatch[pickle.ADDITEMS[0]] = load_additems


def what_it_makes(data):
    # Names stay as they are in the file: mapping Python 2's names is the reader's business.
    return show(Unpickler(io.BytesIO(data), fix_imports=False, encoding="bytes").load())


class Slotted:
    __slots__ = ("left", "right")

    def __init__(self):
        self.left, self.right = 1, "two"


class Keyed:
    def __new__(cls, *, size):
        self = super().__new__(cls)
        self.size = size
        return self

    def __getnewargs_ex__(self):
        return (), {"size": self.size}


class Lister(list):
    pass


class Mapper(dict):
    pass


def objects():
    shared = ["shared"]
    yield from [None, True, False, 0, 1, -1, 255, 256, 65535, 65536, 2**31 - 1, -(2**31), 2**31, 2**63, -(2**80)]
    yield from [2**126, -(2**127), 2**127, 2**300, 1.5, -0.25, 1e10]
    yield from ["", "text", "two\nlines", "back\\slash 'quoted'", "é", "日本語", "🙂 end", "\\u0041", "x" * 300]
    yield from [b"", b"bytes\x00\xff", b"y" * 300, bytearray(b"array\n"), bytearray()]
    yield from [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1], [1, [2, [3]]], {}, {"a": 1}, {1: {"b": (2,)}, "c": []}]
    yield from [set(), {7}, frozenset(), frozenset({8}), [shared, shared], list(range(1003)), {i: str(i) for i in range(1003)}]
    yield from [complex(1, 2), collections.OrderedDict(a=1, b=[2]), collections.Counter("abca"), collections.deque([1, 2])]
    yield from [datetime.date(2024, 2, 29), decimal.Decimal("1.10"), fractions.Fraction(1, 3), range(3), slice(1, 2)]
    yield from [Slotted(), Keyed(size=3), Lister([1, 2]), Mapper(k="v"), len, collections.OrderedDict, Exception("e", 1)]
    yield from [numpy.float32(1.5), numpy.dtype("<f8"), numpy.arange(6, dtype=numpy.int16).reshape(2, 3)]
    yield numpy.array([("a", 1)], dtype=[("name", "U4"), ("count", "i4")])


# What today's writers do not write.
BY_HAND = [
    b"I00\n.", b"I01\n.", b"I-7\n.", b"L5L\n.", b"L-5\n.", b"F2.5\n.", b"K\x07.", b"M\x01\x02.", b"J\xff\xff\xff\xff.",
    b"\x8a\x00.", b"\x8a\x02\xff\x7f.", b"\x8b\x03\x00\x00\x00\x01\x02\xff.",
    b"S'it\\'s\\n\\x41\\101\\q'\n.", b'S"double"\n.', b"U\x03abc.", b"T\x03\x00\x00\x00a\xffc.", b"V\\u65e5a\\\\u0041\\U0001f642\n.",
    b"X\x02\x00\x00\x00\xc3\xa9.", b"\x8c\x01a.", b"\x8d\x01\x00\x00\x00\x00\x00\x00\x00a.",
    b"B\x01\x00\x00\x00a.", b"C\x01a.", b"\x8e\x01\x00\x00\x00\x00\x00\x00\x00a.", b"\x96\x01\x00\x00\x00\x00\x00\x00\x00a.",
    b"(I1\nI2\nl.", b"(I1\nI2\nt.", b"(I1\nI2\nd.", b"]I1\na.", b"](I1\nI2\ne.", b"}I1\nI2\ns.", b"}(I1\nI2\nu.",
    b"\x8f(K\x01\x90.", b"(K\x01\x91.", b"N\x85.", b"NN\x86.", b"NNN\x87.", b")." , b"].", b"}.",
    b"(K\x01K\x02t0K\x03.", b"K\x01K\x020.", b"(K\x01K\x021K\x03.", b"]2\x86.", b"K\x01(0.",
    b"K\x05p0\n0g0\n.", b"K\x05q\x010h\x01.", b"K\x05r\x01\x00\x00\x000j\x01\x00\x00\x00.", b"K\x05\x940h\x00.",
    b"K\x05p7\nK\x06\x94\x86h\x01\x86.",  # MEMOIZE counts entries, not indices: this one is number 1
    b"cos\nsystem\n.", b"\x8c\x02os\x8c\x04path\x93.", b"\x82\x07.", b"\x83\x07\x01.", b"\x84\x07\x01\x00\x00.",
    b"cm\nf\n(K\x01tR.", b"cm\nC\n(K\x01t\x81.", b"cm\nC\n(K\x01t}\x8c\x01kK\x02s\x92.", b"(K\x01im\nC\n.", b"(cm\nC\nK\x01o.",
    b"cm\nC\n)R}\x8c\x01kK\x02sb.", b"cm\nC\n)RK\x01a.", b"cm\nC\n)R(K\x01K\x02e.", b"cm\nC\n)RK\x01K\x02s.", b"cm\nC\n)R(K\x01\x90.",
    b"Pthe id\n.", b"K\x09Q.", b"\x80\x02K\x01.", b"\x80\x05\x95\x03\x00\x00\x00\x00\x00\x00\x00K\x01.",
]


def write_opcodes():
    lines = [f"{op.code!r}\t{ord(op.code):02x}\t{op.name}\t{op.proto}\t{op.arg.n if op.arg else 0}" for op in pickletools.opcodes]
    (OUT / "opcodes.txt").write_text("".join(line.split("\t", 1)[1] + "\n" for line in lines))


def write_values():
    cases = list(BY_HAND)
    for value in objects():
        for protocol in range(6):
            try:
                data = pickle.dumps(value, protocol)
            except (TypeError, pickle.PicklingError):  # slots before protocol 2
                continue
            if len(data) < 2000 and data not in cases:
                cases.append(data)
    lines = []
    for data in cases:
        lines.append(f"{data.hex()}\t{what_it_makes(data)}\n")
    (OUT / "values.txt").write_text("".join(lines))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    write_opcodes()
    write_values()
    arrays = {"a": numpy.arange(5, dtype=numpy.float64), "b": numpy.array([["x", "yz"]]), "last": "behind"}
    joblib.dump(arrays, OUT / "arrays.joblib")
    joblib.dump([numpy.array([1, "a", None], dtype=object), "behind"], OUT / "objects.joblib")


if __name__ == "__main__":
    main()
