"""ONNX models as descriptions of networks."""

import numpy as np

from crnn import layers
from crnn.exchange.description import Description, named
from crnn.exchange.onnx_files import read_model
from crnn.exchange.onnx_graph import RECURRENT, Walk
from crnn.exchange.onnx_stateless import chosen
from crnn.exchange.onnx_values import (
    ALL,
    BLOCKS,
    CELL,
    COLUMNS,
    END,
    FINAL,
    PRIMES,
    START,
    Inexpressible,
    Signal,
    Unknown,
    atom_of,
    resolved,
    with_features,
)
from crnn.files.disk import FormatError

MOST_NAMED = 20  # nodes in a message
CHOICE = ("a choice of features",)  # the name of a layer that no node is
MERELY = {"Constant", "Identity", "Shape", "Unsqueeze", "Squeeze", "Transpose", "Reshape", "Cast",
          "Concat", "Slice", "Gather", "Expand", "ConstantOfShape", "Split", "Flatten", "If"}


def describe(source, names=None):
    """Return the network that a model is, or the part of it that some of its nodes are.

    Parameters
    ----------
    source : str, os.PathLike, bytes or onnx.ModelProto
    names : sequence of str, optional
        Nodes by their names or, without one, by that of their first output: the network is what
        lies between the lowest and the highest of them.

    Returns
    -------
    Description

    Raises
    ------
    FormatError
        If the model is damaged, or has what crnn cannot express; the message names the node.
    OSError, TypeError, ImportError
    """
    _check_names(names)
    model, called = read_model(source)
    try:
        found, other = (_described(Walk(model, primes), names) for primes in (PRIMES, PRIMES[::-1]))
    except FormatError as error:
        raise FormatError(f"{called}: {error}") from error
    if not _is_same(found, other):
        raise FormatError(f"{called}: its numbers depend on how long or how many sequences are")
    return found


def _check_names(names):
    if names is not None and not (isinstance(names, (list, tuple)) and names
                                  and all(isinstance(each, str) for each in names)):
        raise TypeError(f"layers is {names!r}; a list of names of nodes is wanted")


def _is_same(a, b):
    return (
        a.layers == b.layers and a.parameters.keys() == b.parameters.keys()
        and (a.input_size, a.last, a.batch_first) == (b.input_size, b.last, b.batch_first)
        and all(np.array_equal(each, b.parameters[name], equal_nan=True)
                for name, each in a.parameters.items()))


def _described(walk, names):
    if not any(op in RECURRENT for op in walk.operators.values()):
        raise FormatError(_no_recurrent_node(walk))
    if names is None:
        stage, last, left_out = _top(walk)
        chain = stage.chain()
        _check_whole(walk, chain)
    else:
        chain, last, left_out = _chosen_chain(walk, names), False, []
    stages = [each for each in chain[1:] if not each.skips]
    if not any(each.is_recurrent for each in stages):
        raise FormatError(f"no recurrent layer is in what is wanted of it; {_advice(walk)}")
    if isinstance(stages[0].layer, layers.Activation):
        raise FormatError(f"{stages[0].names[0]!r}: an activation of the input is not in crnn")
    _check_skip(walk, chain)
    parameters, learns = _parameters(stages)
    used = {name for each in chain[1:] for name in each.names}
    return Description(
        input_size=_input_size(chain[0], stages[0]),
        layers=[each.layer for each in stages],
        parameters=parameters,
        skip=chain[-1].skips,
        last=last,
        learn_state=learns,
        batch_first=_batch_first(chain),
        left_out=left_out + _order_of_input(chain) + _left_out(walk, used, stages, names),
    )


def _top(walk):
    """Return the stage that the graph puts out, whether its last outputs, and what is left out."""
    found, states, failed, left_out = {}, {}, {}, []
    for name, value in walk.outputs.items():
        try:
            stage, when = _meaning(value, walk.spend)
        except Inexpressible as reason:
            failed[name] = reason
            continue
        if stage is None:
            left_out.append(f"the output {name!r}, which depends on no layer")
        elif _is_state(value):
            states[name] = stage, when
        elif when in (END, START):
            failed[name] = _one_step(stage, when)
        else:
            found[name] = stage, when
    for name, reason in failed.items():
        if not _is_state(walk.outputs[name]):  # the state of a part of a layer can be left out
            raise FormatError(f"the output {name!r}: {reason}; {_advice(walk)}")
    if not found:
        found = {name: each for name, each in states.items() if each[1] == FINAL}
    if not found:
        raise FormatError(f"no output is what a layer puts out; {_advice(walk)}")
    name, (stage, when) = max(found.items(), key=lambda each: (
        each[1][0].depth, each[1][1] == ALL))
    for other, (top, read) in found.items():
        if not set(_made_of_nodes(top)) <= set(stage.chain()):
            raise FormatError(
                f"the outputs {name!r} and {other!r} come from different layers; {_advice(walk)}")
        if (top, read) != (stage, when):
            left_out.append(f"the output {other!r}, which is part of what leads to {name!r}")
    return stage, when == FINAL, left_out


def _one_step(stage, when):
    names = [each.names[0] for each in stage.chain()[1:]]
    step = "-1" if when == END else "0"
    step = f":, {step}" if _batch_first(stage.chain()) else step
    return (
        f"it reads {when} where it lies, which is not the last one of each direction, or of each"
        f" sequence where they have lengths; layers={names[:MOST_NAMED]!r} gives the outputs of all"
        f" steps, and of these it is y[{step}]"
    )


def _made_of_nodes(top):
    return [each for each in top.chain() if each.names != CHOICE]


def _meaning(value, spend):
    """Return the stage of an output and when it is read; None, ALL if it depends on no layer."""
    if isinstance(value, Unknown):
        raise Inexpressible(value.reason)
    if not isinstance(value, Signal) or not value.parts:
        return None, ALL
    if _is_state(value) and len({each.stage for each in value.parts}) > 1:  # of several layers
        top = max((each.stage for each in value.parts), key=lambda each: each.depth)
        return _whole(top, spend), value.parts[0].when
    stage, when, columns = resolved(_laid_out(value))
    return (stage if columns is None else chosen(stage, columns, CHOICE, spend)), when


def _whole(stage, spend):
    """Return a stage that puts out what the layer in the file does."""
    if stage.lone_reverse:
        return chosen(stage, np.arange(stage.layer.size, stage.width), CHOICE, spend)
    return stage


def _is_state(value):
    """Whether an output is (a part of) the state that layers end with."""
    return isinstance(value, Signal) and value.parts and all(
        each.stage.is_recurrent and each.when in (FINAL, CELL) for each in value.parts)


def _laid_out(value):
    """Return an output, if its features lie as crnn has them, or are one that was squeezed."""
    if len(value.parts) == 1 and atom_of(value.axes, COLUMNS) is None:
        return value
    if any(atom.size > 1 and atom.role == BLOCKS for axis in value.axes for atom in axis):
        return value
    return with_features(value)


def _check_whole(walk, chain):
    if chain[0].foreign is not None:
        raise FormatError(f"{chain[0].foreign}; {_advice(walk)}")
    for stage in chain:
        for problem in stage.problems:
            raise FormatError(
                f"{walk.operators[stage.names[0]]} {stage.names[0]!r}: {problem}; {_advice(walk)}")


def _check_skip(walk, chain):
    for stage in chain:
        below = getattr(stage.source, "layer", None)
        is_last = stage is chain[-1] and getattr(below, "activation", "linear") == "linear"
        if stage.skips and not is_last:
            raise FormatError(
                f"Add {stage.names[0]!r}: crnn adds the input only to what a last layer without an"
                f" activation puts out; {_advice(walk)}")


def _chosen_chain(walk, names):
    """Return the stages from the lowest to the highest that a caller chose."""
    stages = {each: None for stage in walk.stages for each in stage.chain()[1:]}
    stages |= {pair: None for stage in list(stages) for pair in stage.pairs.values()}
    known = {name for stage in stages for name in stage.names}
    for name in names:
        if name not in known:
            raise FormatError(f"layers has {name!r}, and {_candidates(walk, known)}")
    wanted = set(names)
    found = [stage for stage in stages
             if wanted <= {name for each in stage.chain() for name in each.names}]
    if not found:
        raise FormatError(
            f"the nodes {sorted(wanted)} are not one upon another in what crnn can express;"
            f" {_candidates(walk, known)}")
    top = _whole(min(found, key=lambda stage: (
        stage.depth, not stage.biased, getattr(stage.layer, "activation", "") != "linear")),
        walk.spend)
    chain = top.chain()
    lowest = min(place for place, stage in enumerate(chain) if wanted & set(stage.names))
    return chain[lowest - 1 :]


def _candidates(walk, known):
    shown = [f"{walk.operators[name]} {name!r}" for name in walk.operators if name in known]
    more = ", ..." if len(shown) > MOST_NAMED else ""
    return f"the nodes that crnn can take are {', '.join(shown[:MOST_NAMED])}{more}"


def _advice(walk):
    recurrent = [name for name, op in walk.operators.items() if op in RECURRENT]
    return f"layers={recurrent[:MOST_NAMED]!r} takes the recurrent nodes alone, or name others"


def _no_recurrent_node(walk):
    ops = list(walk.operators.values())
    counts = ", ".join(f"{ops.count(op)} {op}" for op in ("MatMul", "Gemm", "Sigmoid", "Tanh")
                       if op in ops)
    unrolled = (
        f"; if its layers were unrolled into others ({counts}), have them exported as RNN, GRU or"
        " LSTM" if counts else "")
    return f"there is no RNN, GRU or LSTM node in it{unrolled}"


def _input_size(below, first):
    for name in ("W_xh", "W_xh_reverse"):
        if name in first.weights:
            return first.weights[name].shape[0]
    return below.width


def _parameters(stages):
    """Return parameters by the names of `crnn.Sequential`, and whether states are learned."""
    learns = any(name.startswith(("h_0", "c_0")) for each in stages for name in each.weights)
    arrays = [{name: np.ascontiguousarray(array) for name, array in (
        (_initial_states(each) if learns and each.is_recurrent else {}) | each.weights).items()}
        for each in stages]
    return named([each.layer for each in stages], arrays), learns


def _initial_states(stage):
    zeros = np.zeros(stage.layer.size, stage.weights["W_hh"].dtype)
    return {name + end: zeros for name in stage.layer.kind.state_names
            for end in ("", "_reverse")[: 1 + stage.layer.bidirectional]}


def _batch_first(chain):
    """Whether the batch comes before time in what the network reads."""
    recurrent = next(each for each in chain[1:] if each.is_recurrent)
    if not chain[0].axes:
        return recurrent.batch_first
    atoms = [axis[0] for axis in chain[0].axes]
    if len(atoms) == 3 and atoms[0] in recurrent.batch:
        return True
    return len(atoms) > 1 and atoms[1] in recurrent.time


def _order_of_input(chain):
    """Return in words that what the network reads has its features last, if the graph's has not."""
    recurrent = next(each for each in chain[1:] if each.is_recurrent)
    axes = [axis[0] for axis in chain[0].axes]
    if len(axes) < 3 or axes[-1] not in (*recurrent.time, *recurrent.batch):
        return []
    return ["the order of the input's axes: here features are the last one, np.moveaxis(x, k, -1)"]


def _left_out(walk, used, stages, names):
    """Return in words which nodes and inputs are not in the network."""
    found = [f"sequence_lens: {each.lengths}, for lengths= of a call"
             for each in stages if each.lengths]
    found += [f"Dropout {name!r}" for name, op in walk.operators.items() if op == "Dropout"]
    if names is not None:
        found += [f"{each.names[0]!r}: {problem}" for each in stages for problem in each.problems]
        found += [f"{op} {name!r}" for name, op in walk.operators.items()
                  if name not in used and op not in MERELY and op != "Dropout"]
    return list(dict.fromkeys(found))
