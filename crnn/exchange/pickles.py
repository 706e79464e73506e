"""Pickles, read without running anything that they name.

A pickle is a list of instructions for a machine with a stack. This one follows those that build
plain values, of protocol 2 and above: numbers, texts, lists, tuples, dicts. What a pickle would
have Python import and call becomes a `Made`, of which only the name is kept, unless the caller has
a function of its own in the place of that name. Pickle's own module, which does import and call, is
not used.
"""

import pickletools
from dataclasses import dataclass

CONSTANTS = {
    "NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (),
}
VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8",
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
PUTS, GETS = {"BINPUT", "LONG_BINPUT"}, {"BINGET", "LONG_BINGET"}
SKIPPED = {"PROTO", "FRAME"}
FOLLOWED = VALUES | CONSTANTS.keys() | PUTS | GETS | TUPLES.keys() | SKIPPED  # and methods
CODES = {each.code.encode("latin-1"): each for each in pickletools.opcodes}
KEYS = (str, int, float, type(None))  # others can take for ever to hash


@dataclass(frozen=True)
class Named:
    """What a pickle would import."""

    name: str


@dataclass(frozen=True, eq=False)
class Made:
    """What a pickle would have made by a call, or by an import alone."""

    name: str


def as_dict(items=()):
    """Return a dict of pairs, as a pickle's dicts are: with texts and numbers for keys alone."""
    return {key: value for key, value in items if isinstance(key, KEYS)}


class _Mark:
    """The place on the stack from which the next instruction takes all."""


MARK = _Mark()


def load(file, calls, persistent):
    """Return what the next pickle in a file describes.

    Parameters
    ----------
    file : binary file
        It is left behind the pickle's end.
    calls : dict of str to callable
        By the names of functions and classes, what is called in their place, with the arguments.
    persistent : callable
        Called with the description of what is kept outside the pickle.

    Returns
    -------
    object
        Entries of dicts whose keys are neither texts nor numbers are left out.

    Raises
    ------
    ValueError
        It is no whole pickle, or one with instructions that no program writes for plain values.
    """
    try:
        return _Machine(calls, persistent).run(file)
    except (IndexError, KeyError, AttributeError, TypeError, OverflowError) as error:
        raise ValueError(f"its instructions do not fit together: {error!r}") from None


class _Machine:
    def __init__(self, calls, persistent):
        self.calls, self.persistent = calls, persistent
        self.stack, self.memo = [], {}

    def run(self, file):
        """Follow instructions up to the last one, and return what is then on the stack."""
        while letter := file.read(1):
            code = CODES.get(letter)
            name = "none at all" if code is None else code.name
            if name == "STOP":
                return self.stack.pop()
            if name == "GLOBAL":
                module, own = (file.readline().decode("utf-8", "replace") for _ in range(2))
                self.stack.append(Named(f"{module.strip()}.{own.strip()}"))
                continue
            if name not in FOLLOWED and not hasattr(self, f"do_{name.lower()}"):
                raise ValueError(f"it has the instruction {name}, which is not followed")
            self.follow(name, None if code.arg is None else code.arg.reader(file))
        raise ValueError("it has no end")

    def follow(self, name, argument):
        stack = self.stack
        if name in VALUES:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in PUTS:
            self.memo[argument] = stack[-1]
        elif name in GETS:
            stack.append(self.memo[argument])
        elif name in TUPLES:
            stack.append(tuple(self.popped(TUPLES[name])))
        elif name not in SKIPPED:
            getattr(self, f"do_{name.lower()}")()

    def popped(self, count):
        """Take this many values off the stack."""
        values = self.stack[-count:]
        if len(values) < count or any(each is MARK for each in values):
            raise ValueError("its stack is empty")
        del self.stack[-count:]
        return values

    def marked(self):
        """Take all above the last mark off the stack, and the mark."""
        stack = self.stack
        place = len(stack) - 1
        while stack[place] is not MARK:
            place -= 1
            if place < 0:
                raise ValueError("it has no mark where one is wanted")
        values = stack[place + 1 :]
        del stack[place:]
        return values

    def call(self, named, arguments):
        """Return what stands for a call."""
        name = named.name if isinstance(named, (Named, Made)) else type(named).__name__
        if isinstance(named, Named) and name in self.calls:
            return self.calls[name](*arguments)
        return Made(name)

    def add_items(self, values):
        into = self.stack[-1]
        if isinstance(into, dict):
            into.update(as_dict(zip(values[::2], values[1::2], strict=True)))

    def add_values(self, values):
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def do_mark(self):
        self.stack.append(MARK)

    def do_pop(self):
        self.stack.pop()

    def do_pop_mark(self):
        self.marked()

    def do_dup(self):
        self.stack.append(self.stack[-1])

    def do_memoize(self):
        self.memo[len(self.memo)] = self.stack[-1]

    def do_tuple(self):
        self.stack.append(tuple(self.marked()))

    def do_empty_list(self):
        self.stack.append([])

    def do_list(self):
        self.stack.append(self.marked())

    def do_empty_dict(self):
        self.stack.append({})

    def do_dict(self):
        values = self.marked()
        self.stack.append({})
        self.add_items(values)

    def do_empty_set(self):
        self.stack.append(Made("set"))

    def do_frozenset(self):
        self.marked()
        self.stack.append(Made("frozenset"))

    def do_additems(self):
        self.marked()

    def do_append(self):
        self.add_values(self.popped(1))

    def do_appends(self):
        self.add_values(self.marked())

    def do_setitem(self):
        self.add_items(self.popped(2))

    def do_setitems(self):
        self.add_items(self.marked())

    def do_stack_global(self):
        module, name = self.popped(2)
        self.stack.append(Named(f"{module}.{name}"))

    def do_reduce(self):
        named, arguments = self.popped(2)
        self.stack.append(self.call(named, arguments))

    do_newobj = do_reduce

    def do_newobj_ex(self):
        named, arguments, _ = self.popped(3)
        self.stack.append(self.call(named, arguments))

    def do_obj(self):
        named, *arguments = self.marked()
        self.stack.append(self.call(named, arguments))

    def do_build(self):
        """Take off the stack the attributes that an object would be given."""
        self.popped(1)

    def do_binpersid(self):
        self.stack.append(self.persistent(*self.popped(1)))
