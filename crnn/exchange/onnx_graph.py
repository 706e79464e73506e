"""A walk through an ONNX graph, from node to node: what each tensor is in terms of layers."""

from collections import ChainMap
from dataclasses import dataclass

import numpy as np

from crnn.exchange.onnx_cells import recurrent
from crnn.exchange.onnx_files import operator_sets
from crnn.exchange.onnx_folding import fold
from crnn.exchange.onnx_moves import MOVES, move
from crnn.exchange.onnx_stateless import activation, add, general_product, one_hot, product, table
from crnn.exchange.onnx_tensors import tensor_array
from crnn.exchange.onnx_values import PRIMES, Atom, Inexpressible, Signal, Stage, Unknown
from crnn.files.disk import FormatError

RECURRENT = ("RNN", "GRU", "LSTM")
MAKERS = {
    **dict.fromkeys(RECURRENT, recurrent),
    "MatMul": product, "Gemm": general_product, "Add": add, "OneHot": one_hot,
    **dict.fromkeys(("Relu", "Tanh", "Sigmoid", "HardSigmoid", "Softmax"), activation),
}
DEEPEST = 16  # functions and graphs in each other
OWN = ("", "ai.onnx")  # the names of ONNX's own domain
FLOAT, INTEGERS = (1, 10, 11), (2, 3, 4, 5, 6, 7, 12, 13)  # kinds of elements


@dataclass(frozen=True)
class Node:
    """One node, with its attributes as Python's values and arrays.

    Attributes
    ----------
    op, name : str
        The operator; and its name or, without one, that of its first output.
    attributes : dict
    opset : int
        The version of its operators.
    num_outputs : int
    spend : callable
        Is told how many bytes the node will take, and raises Inexpressible if they are too many.
    """

    op: str
    name: str
    attributes: dict
    opset: int
    num_outputs: int
    spend: object

    def __str__(self):
        return f"{self.op} {self.name!r}"


class Walk:
    """What one walk through a model's graph found.

    Attributes
    ----------
    outputs : dict of str to ndarray, Signal or Unknown
        What the graph puts out.
    stages : list of Stage
        All that nodes were taken for, also those that nothing reads, in the order of the nodes.
    operators : dict of str to str
        The operator of each node, by its name.

    Parameters
    ----------
    model : onnx.ModelProto
    primes : sequence of int
        Sizes in the place of those that the file leaves open.
    """

    def __init__(self, model, primes=PRIMES):
        self.stages, self.operators = [], {}
        self._primes, self._named_sizes = iter(primes), {}
        self._functions = {(each.domain, each.name): each for each in model.functions}
        nodes = len(model.graph.node) + sum(len(each.node) for each in model.functions)
        self._nodes_left = 10 * nodes + 1000
        self._bytes_left = 8 * model.ByteSize() + 2**20
        self._opsets = operator_sets(model)
        values = self._constants(model.graph)
        for each in model.graph.input:
            if each.name not in values:
                values[each.name] = self._input(each)
        self._walk(model.graph, values, self._opsets, 0, {})
        self.outputs = {each.name: values.get(each.name, Unknown(f"nothing gives {each.name!r}"))
                        for each in model.graph.output}

    def _constants(self, graph):
        values = {each.name: tensor_array(each) for each in graph.initializer}
        return {name: Unknown(f"the tensor {name!r} holds no numbers") if each is None else each
                for name, each in values.items()}

    def _input(self, value):
        """Return an input of the graph as a signal, with an atom for each axis."""
        if not value.type.HasField("tensor_type"):
            return Unknown(f"the input {value.name!r} is no tensor")
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            sizes = [each.dim_value if each.HasField("dim_value") else each.dim_param
                     for each in tensor.shape.dim]
        else:  # as many axes as what recurrent nodes read has, or tokens have
            sizes = [""] * (2 if tensor.elem_type in INTEGERS else 3)
        if any(isinstance(each, int) and each < 0 for each in sizes):
            raise FormatError(f"the input {value.name!r} has the sizes {sizes}")
        atoms = [Atom(each if isinstance(each, int) and each else self._open_size(each))
                 for each in sizes]
        stage = Stage(None, 0, (value.name,), axes=tuple((each,) for each in atoms))
        return Signal(stage.axes, (), stage)

    def _open_size(self, name):
        """Return a prime for a size that the file leaves open, the same for the same name."""
        if not name or name not in self._named_sizes:
            size = next(self._primes, None)
            if size is None:
                raise FormatError("more sizes are left open than crnn can follow")
            self._named_sizes[name or object()] = size
            return size
        return self._named_sizes[name]

    def _walk(self, graph, values, opsets, depth, outer_attributes):
        """Add to values, by their names, what the nodes of a graph or a function put out."""
        if depth > DEEPEST:
            raise FormatError(f"graphs or functions are in each other more than {DEEPEST} deep")
        for message in graph.node:
            self._nodes_left -= 1
            if self._nodes_left < 0:
                raise FormatError("functions are called too often")
            name = message.name or next(filter(None, message.output), message.op_type)
            missing = [each for each in message.input if each and each not in values]
            if missing:
                raise FormatError(
                    f"{message.op_type} {name!r} reads {missing[0]!r}, which no node before it puts"
                    " out")
            inputs = [values[each] if each else None for each in message.input]
            found = self._found(message, name, inputs, values, opsets, depth, outer_attributes)
            for output, value in zip(message.output, found, strict=False):
                if output and output in values:
                    raise FormatError(f"{output!r} is put out twice")
                if output:
                    values[output] = value

    def _found(self, message, name, inputs, values, opsets, depth, outer_attributes):
        """Return what a node puts out, for each output an array, a Signal or an Unknown."""
        attributes = self._attributes(message, outer_attributes)
        count = len(message.output)
        domain, op = message.domain, message.op_type
        node = Node(op, name, attributes, opsets.get("", 0), count, self.spend)
        self.operators[name] = op
        function = self._functions.get((domain, op))
        if function is not None:
            inner = self._call(function, inputs, attributes, depth)
            return [inner.get(each, Unknown(f"{node} gives no {each}"))
                    for each in function.output]
        if domain not in OWN:
            return [Unknown(f"{node} of the domain {domain!r} is not known")] * count
        if op == "If":
            return self._branches(node, inputs, values, opsets, depth, outer_attributes)
        try:
            with np.errstate(all="ignore"):
                found = self._computed(node, inputs)
        except FormatError:
            raise
        except Inexpressible as reason:
            found = self._nothing(node, inputs, f"{node}: {reason}")
        except (ValueError, TypeError, IndexError, KeyError, AttributeError, ArithmeticError):
            found = self._nothing(node, inputs, f"{node}: its inputs do not fit together")
        return found + [Unknown(f"{node}: a further output")] * (count - len(found))

    def _computed(self, node, inputs):
        if node.op in RECURRENT:
            return self._noted(recurrent(node, *inputs))
        unknown = next((each for each in inputs if isinstance(each, Unknown)), None)
        if unknown is not None:
            moved = unknown.is_moved_input and node.op in MOVES
            return [Unknown(unknown.reason, moved)] * node.num_outputs
        if not any(isinstance(each, Signal) for each in inputs):
            return fold(node, inputs)
        if node.op == "Shape":
            return fold(node, inputs)
        if node.op == "Gather" and isinstance(inputs[1], Signal):
            return self._noted([table(node, *inputs)])
        if node.op in MAKERS:
            return self._noted([MAKERS[node.op](node, *inputs)])
        if node.op in MOVES:
            return move(node, inputs)
        raise Inexpressible(f"{node.op} is not in crnn")

    def _noted(self, signals):
        self.stages.append(signals[0].stage)
        return signals

    def _nothing(self, node, inputs, reason):
        """Return Unknowns, which are parts of an input where the node only moves one."""
        moved = node.op in MOVES and all(
            isinstance(each, np.ndarray) or each is None
            or (isinstance(each, Signal) and not each.parts) for each in inputs)
        return [Unknown(reason, moved)] * node.num_outputs

    def _attributes(self, message, outer):
        found = {}
        for each in message.attribute:
            if each.ref_attr_name:  # of the function that the node is in
                if each.ref_attr_name in outer:
                    found[each.name] = outer[each.ref_attr_name]
                continue
            found[each.name] = _value(each)
        return found

    def spend(self, size):
        """Count bytes that are about to be taken; Inexpressible if they are too many."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise Inexpressible("it would take far more memory than the file")

    def _call(self, function, inputs, attributes, depth):
        values = dict(zip(function.input, inputs, strict=False))
        values |= dict.fromkeys(function.input[len(inputs):])
        defaults = {each.name: _value(each) for each in function.attribute_proto}
        self._walk(function, values, operator_sets(function), depth + 1, defaults | attributes)
        return values

    def _branches(self, node, inputs, values, opsets, depth, outer_attributes):
        """Return what an If puts out: of the branch that is known to be taken, or of equal ones."""
        names = ["then_branch", "else_branch"]
        if len(inputs) != 1 or not all(hasattr(node.attributes.get(each), "node")
                                       for each in names):
            raise FormatError(f"{node} has not one condition and two branches")
        (condition,) = inputs
        if isinstance(condition, np.ndarray) and condition.size == 1:
            names = names[:1] if condition.all() else names[1:]
        found = []
        for name in names:
            graph = node.attributes[name]
            inner = ChainMap(self._constants(graph), values)
            self._walk(graph, inner, opsets, depth + 1, outer_attributes)
            found.append([inner.get(each.name) for each in graph.output])
        if len(found) == 1:
            return found[0]
        reason = Unknown(f"{node}: which branch is taken is only known when it runs")
        return [a if _is_same(a, b) else reason for a, b in zip(*found, strict=False)]


def _is_same(a, b):
    if isinstance(a, Signal) and isinstance(b, Signal):
        return a == b
    return isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.array_equal(a, b)


def _value(attribute):
    """Return an attribute's value: a number, a text, a list, an array or a graph; or None."""
    kind = attribute.type
    simple = {1: "f", 2: "i", 6: "floats", 7: "ints"}
    if kind in simple:
        found = getattr(attribute, simple[kind])
        return list(found) if kind > 5 else found
    if kind == 3:
        return attribute.s.decode(errors="replace")
    if kind == 8:
        return [each.decode(errors="replace") for each in attribute.strings]
    if kind == 4:
        return tensor_array(attribute.t)
    return attribute.g if kind == 5 else None
