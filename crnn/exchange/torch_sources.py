"""Where a network of PyTorch's is read from: a module, a state dict, or a file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from crnn.exchange import pickles, torch_files, torch_modules, torch_parts
from crnn.files.disk import bad

CHOOSE = "choose by layers=[...], names in the order in which they compute"


@dataclass
class Source:
    """What a network is read from.

    Attributes
    ----------
    name : str
        For messages; of a file, its path.
    is_file : bool
    parts : list of Part
    tensors : dict
        All of them by their whole names.
    batch_first : bool
    """

    name: str
    is_file: bool
    parts: list = field(default_factory=list)
    tensors: dict = field(default_factory=dict)
    batch_first: bool = False

    @property
    def modules(self):
        """The parts that are more than an array."""
        return [part for part in self.parts if part.kind != "array"]

    def refused(self, message):
        """Return the error that says what is wrong with it."""
        return bad(self.name, message) if self.is_file else self.unclear(message)

    def unclear(self, message):
        """Return the error that says what an argument should tell."""
        return ValueError(f"{repr(self.name) if self.is_file else self.name} {message}")


def opened(source):
    """Return the `Source` that a module, a state dict or a path is."""
    if torch_modules.is_module(source):
        origin = Source("the module", False, tensors=dict(source.state_dict()))
        origin.parts, batch_first = torch_modules.parts_of_module(source)
        if len(batch_first) > 1:
            raise origin.unclear("has recurrent modules with the batch first and others with time"
                                 f" first; {CHOOSE}")
        origin.batch_first = batch_first == {True}
        return origin
    if isinstance(source, Mapping):
        origin, content = Source("the state dict", False), source
    else:
        if not isinstance(source, (str, bytes, os.PathLike)):
            raise TypeError(f"source is a {type(source).__name__}; a module of PyTorch's, a state"
                            " dict or a path is wanted")
        origin = Source(os.fsdecode(source), True)
        content = torch_files.read(source)
    if isinstance(content, pickles.Made):
        raise origin.refused(torch_parts.whole_object(content.name))
    if not isinstance(content, Mapping):
        raise origin.refused(f"holds a {type(content).__name__}; a dict of tensors is wanted:"
                             f" {torch_files.SAVE}")
    try:
        origin.tensors = torch_parts.state_of(content)
    except ValueError as error:
        raise origin.refused(str(error)) from None
    origin.parts = torch_parts.parts_of_state(origin.tensors)
    return origin
