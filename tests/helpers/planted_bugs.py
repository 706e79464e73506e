"""The bugs that test_breaks.py plants.

Most are in the reference, some in what plans passes of the compiled code and packs weights for it,
and in the two engines. Each is a replacement of text, which must occur exactly as often as it
says: when a module is rewritten, this file has to be looked at too. The bugs of cells, layers and
directions are in planted_cell_bugs.py.
"""

from pathlib import Path
from typing import NamedTuple

from planted_cell_bugs import CELL_BUGS

import crnn

PACKAGE = Path(crnn.__file__).parent
SOURCES = {  # by "reference/layer", and "reference" for the package itself
    path.relative_to(PACKAGE).as_posix().removesuffix(".py").removesuffix("/__init__"):
        path.read_text(encoding="utf-8")
    for folder in ("reference", "engine")
    for path in sorted((PACKAGE / folder).glob("*.py"))
    if path.stem != "threads"  # there is one pool of threads
}


def text_in(module):
    """Return the text of a module, or of all modules of a package."""
    return "".join(text for name, text in SOURCES.items() if name.startswith(module))


class Bug(NamedTuple):
    """A way to break a module, and the checks that must see it (others may, too)."""

    name: str
    old: str
    new: str
    caught_by: str  # the first letters of checks
    count: int = 1  # how often the old text is there
    module: str = "reference"


# h: worked by hand, b: formulas of textbooks, c: complex step, k: compiled kernels, l: lengths,
# s: steps, a: layers and directions apart, u: updates by hand, p: packing, m: changes meanwhile,
# g: small blocks and groups, w: one question after another, f: sums of many rows in float32,
# o: steps of cells with options, n: networks of them, j: steps that are none,
# d: networks of unlike layers
RNN, LAYER, NETWORK = "reference/rnn", "reference/layer", "reference/network"
ENGINE, COMPILED, PLANS, ARRAYS, PACKING = (
    f"engine/{name}" for name in ("textbook", "compiled", "plans", "pass_arrays", "packing"))
MASKING = "engine/masking"
STALE = "copy.stamp.item() != self.changes.item()"
SHARE = "return W[x] if is_tokens(x) else x @ W\n"
STEP = "new, tape = step(a[t, on], select(state, on), weights)"
BACK = "da[t, on], dstate_prev, of_step = step_backward(reached, tape.steps[t], weights)"
MOVED = "self._states, self.is_at_start = states, False"
BUGS = [
    # forward
    Bug("bias dropped", "a = product(x, weights.W_xh) + weights.b_h",
        "a = product(x, weights.W_xh) + 0 * weights.b_h", "hck"),
    Bug("bias dropped for tokens", "a = product(x, weights.W_xh) + weights.b_h",
        "a = product(x, weights.W_xh) + (x.ndim > 2) * weights.b_h", "ck"),
    Bug("weights transposed", "h_prev @ weights.W_hh\n", "h_prev @ weights.W_hh.T\n", "hck",
        module=RNN),
    Bug("state of two steps ago", STEP,
        "now, state = state, (prev if t else state)\n        prev = now\n        " + STEP, "hckl"),
    Bug("state never handed on", "        state = replace(state, on, new)\n", "", "hck"),
    Bug("initial state ignored", STEP,
        "state = tuple((t > 0) * each for each in state)\n        " + STEP, "hckls"),
    Bug("batch shares a state", STEP,
        "new, tape = step(a[t, on], tuple(0 * each + each[:1] for each in select(state, on)),"
        " weights)", "ckl"),
    Bug("leaky ReLU", "np.where(a.real < 0, 0, a)", "np.where(a.real < 0, 0.01 * a, a)", "hck"),
    # products
    Bug("last panel dropped", SHARE,
        "W = W * (np.arange(W.shape[1]) < max(16, W.shape[1] // 16 * 16))\n    " + SHARE, "k"),
    Bug("last input dropped", SHARE,
        "W = W * (np.arange(len(W)) < len(W) // 2 * 2)[:, None]\n    " + SHARE, "hck"),
    Bug("sums of the wrong half", SHARE, "W = np.roll(W, -(-len(W) // 2), axis=0)\n    " + SHARE,
        "ck"),
    Bug("sums of one half", SHARE,
        "W = W * (np.arange(len(W)) < -(-len(W) // 2))[:, None]\n    " + SHARE, "hck"),
    Bug("x[t-1] for x[t]", "a[t, on], select", "a[max(t - 1, 0), on], select", "hcks"),
    # backward through time
    Bug("first step skipped", "in reversed(range(len(dh)))", "in reversed(range(1, len(dh)))",
        "hck"),
    Bug("last step skipped", "in reversed(range(len(dh)))", "in reversed(range(len(dh) - 1))",
        "hck"),
    Bug("steps in forward order", "in reversed(range(len(dh)))", "in range(len(dh))", "hck"),
    Bug("dstate ignored", "(dh[t, on] + dh_next,", "(dh[t, on],", "hck"),
    Bug("dh ignored", "(dh[t, on] + dh_next,", "(dh_next,", "hck"),
    Bug("dh of the first step", "(dh[t, on] + dh_next,", "(dh[0, on] + dh_next,", "hck"),
    Bug("dstate not carried", "        dstate = replace(dstate, on, dstate_prev)\n", "", "hck"),
    Bug("dstate piles up", "replace(dstate, on, dstate_prev)",
        "replace(dstate, on, [a + b for a, b in zip(dstate_prev, select(dstate, on))])", "hck"),
    Bug("dstate is da", "replace(dstate, on, dstate_prev)",
        "replace(dstate, on, [da[t, on, : dh.shape[2]] for _ in dstate])", "hck"),
    Bug("da not handed on", BACK, BACK.replace("da[t, on]", "_"), "hck"),
    Bug("da of the step after", BACK,
        BACK.replace("da[t, on]", "da[min(t + 1, len(da) - 1), on]"), "hck"),
    Bug("dx of the first step", "else da @ weights.W_xh.T", "else da[:1] @ weights.W_xh.T + 0 * da"
        " @ weights.W_xh.T", "hck"),
    Bug("dx not set", "else da @ weights.W_xh.T", "else 0 * da @ weights.W_xh.T", "hck"),
    Bug("W_hh_T transposed again", "dh_prev = da @ weights.W_hh.T", "dh_prev = da @ weights.W_hh",
        "hck", module=RNN),
    Bug("slope from a", "return 1 - h * h", "return 1 - np.tanh(h) ** 2", "hck"),
    Bug("slope without the square", "return 1 - h * h", "return 1 - h", "hck"),
    Bug("ReLU's slope always 1", "return (h.real > 0)", "return (h.real >= 0)", "hck"),
    # its weights
    Bug("h[t] for h[t-1]", "dW_hh = wide(h_prev).T @ da", "dW_hh = h.T @ da", "hck", module=RNN),
    Bug("h[t-2] for h[t-1]", BACK,
        BACK.replace("tape.steps[t]", "tape.steps[t]._replace(h_prev=tape.steps[max(t - 1, 0)]"
                     ".h_prev[-int(on.sum()):])"), "hck"),
    Bug("h of the last step for h0", BACK,
        BACK.replace("tape.steps[t]", "tape.steps[t]._replace(h_prev=tape.steps[t if t else -1]"
                     ".h_prev)"), "hck"),
    Bug("zeros for h0", BACK,
        BACK.replace("tape.steps[t]",
                     "tape.steps[t]._replace(h_prev=(t > 0) * tape.steps[t].h_prev)"), "hck"),
    Bug("h0 of every second step", BACK,
        BACK.replace("tape.steps[t]", "tape.steps[t]._replace(h_prev=tape.steps[t % 2 * t].h_prev)"
                     ), "c"),
    Bug("dW_hh transposed", "dW_hh = wide(h_prev).T @ da", "dW_hh = da.T @ h_prev", "hck",
        module=RNN),
    Bug("dW_hh starts from W_hh", '{"W_hh": wide(np.zeros_like(weights.W_hh))}',
        '{"W_hh": weights.W_hh}', "hck", module=LAYER),
    Bug("dW_hh of one step only", "dweights[name] = dweights[name] + share",
        "dweights[name] = share", "hck"),
    Bug("dW_hh forgotten", "dweights[name] = dweights[name] + share", "pass", "hck"),
    # lengths
    Bug("lengths ignored forward", STEP, "on = np.ones_like(on)\n        " + STEP, "ckl"),
    Bug("lengths ignored backward", "dh_next, *dc_next = select(dstate, on)",
        "on = np.arange(len(on)) < len(tape.steps[t].h_prev)\n"
        "        dh_next, *dc_next = select(dstate, on)", "ckl"),
    Bug("lengths off by one", "np.arange(steps)[:, None] < lengths",
        "np.arange(steps)[:, None] <= lengths", "kl"),
    Bug("lengths off by one backward", "running = valid_steps(tape.lengths, *dh.shape[:2])",
        "running = valid_steps(None if tape.lengths is None else tape.lengths + 1, *dh.shape[:2])",
        "ckl"),
    Bug("finished states are zeros", "replaced = tuple(each.copy() for each in state)",
        "replaced = tuple(np.zeros_like(each) for each in state)", "kl"),
    Bug("finished outputs are not 0", "np.where(running[:, :, None], y, 0), states, tape",
        "y, states, tape", "kl"),
    Bug("finished steps get a gradient of y", "dy = np.where(running[:, :, None], dy, 0)\n",
        "", "k"),
    Bug("lengths of the first sequences", "return tuple(each[on] for each in state)",
        "return tuple(each[: on.sum()] for each in state)", "ckl"),
    # input projection and readout
    Bug("dW_xh starts from W", '= product_gradient(tape.x, da, weights.W_xh)',
        '= weights.W_xh + product_gradient(tape.x, da, weights.W_xh)', "hckl"),
    Bug("dW of one sequence", "    return wide(rows(x)).T @ rows(dy)\n",
        "    return x[:, 0].T @ dy[:, 0]\n", "ckl"),
    Bug("db forgotten", "wide(da).sum(axis=(0, 1))", "0 * wide(da).sum(axis=(0, 1))", "hck",
        module=LAYER),
    Bug("db is a mean", "wide(da).sum(axis=(0, 1))", "da.mean(axis=(0, 1))", "hck",
        module=LAYER),
    Bug("db of one step", "wide(da).sum(axis=(0, 1))", "da[-1].sum(axis=0)", "hck",
        module=LAYER),
    Bug("db in float32", "wide(da).sum(axis=(0, 1))", "da.sum(axis=(0, 1))", "f",
        module=LAYER),
    Bug("rows of tokens in float32", "dW = wide(np.zeros_like(W))", "dW = np.zeros_like(W)", "f"),
    Bug("a token counts once", "np.add.at(dW, x, dy)", "dW[x] += dy", "ck"),
    Bug("tokens of the step before", "np.add.at(dW, x, dy)", "np.add.at(dW, x[::-1], dy)", "ck"),
    Bug("a readout of the states before", "        return h @ self.parameters",
        "        h = h[np.maximum(np.arange(len(h)) - 1, 0)]\n        return h @ self.parameters",
        "hck"),
    Bug("no b_y", '@ self.parameters["W_hy"] + self.parameters["b_y"]',
        '@ self.parameters["W_hy"]', "hck"),
    Bug("W_hy not transposed on the way back", "da @ W_hy.T, {",
        "da @ W_hy.reshape(W_hy.T.shape), {", "hck"),
    Bug("dW_hy of the states before", "product_gradient(h, da, W_hy)",
        "product_gradient(np.roll(h, 1, axis=0), da, W_hy)", "hck"),
    Bug("dW_hy forgotten", "product_gradient(h, da, W_hy)", "0 * W_hy", "hck"),
    Bug("db_y is a mean", "wide(da).sum(axis=(0, 1))", "da.mean(axis=(0, 1))", "hck",
        module=NETWORK),
    Bug("db_y forgotten", "wide(da).sum(axis=(0, 1))", "0 * da[0, 0]", "hck", module=NETWORK),
    # losses
    Bug("softmax without the target", "    gradient[each, chosen] -= scale\n", "", "hck"),
    Bug("softmax takes 1 unscaled", "gradient[each, chosen] -= scale",
        "gradient[each, chosen] -= 1", "ck"),
    Bug("softmax unscaled", "gradient = scale[:, None] * exponentials", "gradient = exponentials",
        "ck"),
    Bug("softmax not normalised", "exponentials / total[:, None]", "exponentials", "hck"),
    Bug("softmax overflows", "    logits = logits - _largest(logits)", "    logits = logits", "k"),
    Bug("target -1 counts", "counts = (targets >= 0)", "counts = (targets >= -1)", "kl"),
    Bug("target 0 does not count", "counts = (targets >= 0)", "counts = (targets > 0)", "hk"),
    Bug("no target keeps its y", "_spread(gradient, counts, y.dtype)\n\n\ndef sigmoid",
        "np.where(counts[:, :, None], _spread(gradient, counts, y.dtype), y)\n\n\ndef sigmoid",
        "ckl"),
    Bug("no target has a loss", "return _spread(weight * loss, counts),",
        "return 1 + _spread(weight * loss, counts),", "kl"),
    Bug("losses of other steps", "spread[counts] = values\n", "spread[counts] = values[::-1]\n",
        "hckl"),
    Bug("mse without the 2", "weight * 2 * error", "weight * error", "hck"),
    Bug("mse unscaled", "scale * weight * 2 * error", "weight * 2 * error", "ck"),
    Bug("mse of the wrong sign", "scale * weight * 2 * error", "-scale * weight * 2 * error",
        "hck"),
    Bug("sigmoid of the wrong sign", "weight * (p - wanted)", "weight * (wanted - p)", "ck"),
    Bug("quantiles with swapped sides", "np.where(sign > 0, level, (1 - level) * sign)",
        "np.where(sign > 0, 1 - level, level * sign)", "k"),
    Bug("quantiles in reverse order", "for level, block in zip(levels,",
        "for level, block in zip(levels[::-1],", "k"),
    Bug("the gaussian without its half", "(log_variance + z * z) / 2", "log_variance + z * z / 2",
        "ck"),
    Bug("the gaussian's mean and variance change places", "for half in np.split(y, 2, axis=2))",
        "for half in np.split(y, 2, axis=2)[::-1])", "ck"),
    Bug("huber with the squares of mse", "error * error / 2)", "error * error)", "ck"),
    Bug("weights of the next sequences", "weights = np.repeat(weights[:, :, None]",
        "weights = np.repeat(np.roll(weights, 1, axis=1)[:, :, None]", "k"),
    Bug("weights of losses alone", "gradient = scale * weight * sign", "gradient = scale * sign",
        "ck"),
    Bug("sigmoid without its target", "- logits * wanted +", "- logits +", "ck"),
    Bug("sigmoid of -|y|", "p = np.where(positive, 1, small)", "p = small", "ck"),
    Bug("sigmoid overflows", "np.exp(np.where(positive, -logits, logits))", "np.exp(logits)", "ck"),
    Bug("the loss is not scaled", "losses.sum().item() * objective.scale, gradients",
        "losses.sum().item(), gradients", "k"),
    Bug("the last step of all sequences", "return np.maximum(lengths - 1, 0)",
        "return np.full(batch, steps - 1)", "kl"),
    Bug("the second direction read at the last step", "outputs[0, :, H:]", "outputs[-1, :, H:]",
        "ckl"),
    Bug("the second direction's gradient at the last step", "whole[0, :, H:]", "whole[-1, :, H:]",
        "ckl"),
    Bug("the last outputs of both directions from the first", "whole[0, :, H:] = dh[:, H:]",
        "whole[0, :, H:] = dh[:, :H]", "ck"),
    # steps
    Bug("a step forgets", MOVED, "self.is_at_start = False", "s", module=ENGINE),
    Bug("a step keeps its old c", MOVED, "self.is_at_start = False\n"
        "            self._states = [(h, *c) for (h, *_), (_, *c) in zip(states, self._states)]",
        "s", module=ENGINE),
    Bug("a step keeps its old h", MOVED, "self.is_at_start = False\n"
        "            self._states = [(h, *c) for (_, *c), (h, *_) in zip(states, self._states)]",
        "s", module=ENGINE),
    Bug("a block forgets between its steps", "self.passes.step(rows, states)",
        "self.passes.step(rows, states if t == 0 else self._states)", "s", module=ENGINE),
    Bug("states of a stream shared by its layers", "[[np.array(each) for each in state]"
        " for state in states]", "[[np.array(each) for each in states[0]] for _ in states]", "s",
        module=ENGINE),
    Bug("a step from states of zeros", "y, states = self.infer(x[None], states)",
        "y, states = self.infer(x[None], [[0 * each for each in state] for state in states])",
        "s"),
    # updates
    Bug("no weight decay", "    g = g + weight_decay * w\n", "", "ku", count=4),
    Bug("weight decay without w", "+ weight_decay * w\n", "+ weight_decay\n", "ku", count=4),
    Bug("SGD uphill", "w -= lr * g", "w += lr * g", "ku"),
    Bug("momentum of the wrong sign", "momentum * m + g\n", "g - momentum * m\n", "ku"),
    Bug("velocity forgotten", "m[...] = momentum * m + g", "m = momentum * m + g", "ku"),
    Bug("velocity takes lr", "momentum * m + g\n", "momentum * m + lr * g\n", "ku"),
    Bug("velocity is a mean", "momentum * m + g\n", "momentum * m + (1 - momentum) * g\n", "ku"),
    Bug("no Nesterov", "g = g + momentum * m if nesterov else m", "g = m", "ku"),
    Bug("Nesterov without momentum", "g + momentum * m if", "g + m if", "ku"),
    Bug("Adagrad without squares", "s += g * g", "s += g", "ku"),
    Bug("Adagrad forgets", "s += g * g", "s[...] = g * g", "ku"),
    Bug("eps inside Adagrad's root", "np.sqrt(s) + eps", "np.sqrt(s + eps)", "k"),
    Bug("RMSprop without squares", "alpha * v + (1 - alpha) * (g * g)",
        "alpha * v + (1 - alpha) * g", "ku"),
    Bug("RMSprop adds up", "alpha * v + (1 - alpha) * (g * g)", "alpha * v + g * g", "ku"),
    Bug("RMSprop never centered", "variance = v - a * a", "variance = v", "ku"),
    Bug("RMSprop's variance with a mean", "variance = v - a * a", "variance = v - a", "ku"),
    Bug("eps inside RMSprop's root", "np.sqrt(variance) + eps", "np.sqrt(variance + eps)", "k"),
    Bug("RMSprop's velocity not used", "        u = m\n", "", "ku"),
    Bug("RMSprop's velocity takes g", "momentum * m + u\n", "momentum * m + g\n", "ku"),
    Bug("first bias correction dropped", "(m / correction1)", "m", "ku"),
    Bug("second bias correction dropped", " / math.sqrt(correction2)", "", "ku"),
    Bug("bias correction without a root", "math.sqrt(correction2)", "correction2", "ku"),
    Bug("bias corrected with eps", "np.sqrt(v) / math.sqrt(correction2) + eps",
        "(np.sqrt(v) + eps) / math.sqrt(correction2)", "ku"),
    Bug("one beta for both means", "beta2 * v + (1 - beta2)", "beta1 * v + (1 - beta1)", "ku"),
    Bug("Adam without squares", "(1 - beta2) * (g * g)", "(1 - beta2) * g", "ku"),
    Bug("Adam's mean forgotten", "    m[...] = beta1 * m", "    m = beta1 * m", "ku"),
    Bug("decoupled decay after the step", "keep * w - lr * u", "keep * (w - lr * u)", "ku"),
    Bug("no decoupled decay", "keep * w - lr * u", "w - lr * u", "ku"),
    Bug("norm of the largest", "np.float64).sum()", "np.float64).max()", "k"),
    Bug("finite is what starts so", "np.isfinite(x).all()", "np.isfinite(x).any()", "k"),
    # packed weights; where shapes are the same, as compiled code does not look at them again
    Bug("packed once and for all", STALE, "copy.stamp.item() < 0", "p", module=PACKING),
    Bug("packed anew every second time", STALE,
        "copy.stamp.item() < max(0, self.changes.item() - 2)", "p", module=PACKING),
    Bug("packed anew where it was made", "            self.packed(*key)\n", "            pass\n",
        "p", module=PACKING),
    Bug("transposed copies stay", "            self.packed(*key)\n",
        "            self.packed(key[0], False, key[2])\n", "p", module=PACKING),
    Bug("packed when a plan is made only", "if changes != self._changes:",
        "if self._changes is None:", "p", module=PLANS),
    Bug("what changes while weights are packed is missed", "self._changes = changes  #",
        "self._changes = self._weights.changes.item()  #", "m", module=PLANS),
    Bug("a stamp from after packing",
        "            self._repack(copy.packed, copy.weight, copy.stamp, self.changes)\n",
        "            self._repack(copy.packed, copy.weight, copy.stamp, self.changes)\n"
        "            copy.stamp[0] = self.changes[0]\n", "m", module=PACKING),
    Bug("a copy that is never transposed", "weight = weight.T if transposed else weight",
        "weight = weight.T if transposed and len(set(weight.shape)) > 1 else weight", "k",
        module=PACKING),
    Bug("one copy for both directions", "key = name, transposed, columns",
        "key = name, transposed and len(set(self.parameters[name].shape)) > 1, columns", "k",
        module=PACKING),
    Bug("W_hn from the first columns", '"W_hh" + suffix, (width - H, width)',
        '"W_hh" + suffix, (0, H)', "k", module=PACKING),
    # what a plan is taken for
    Bug("always the mean", "targets, state, lengths, named, reduction, wants_x, last_only\n",
        'targets, state, lengths, named, "mean", wants_x, last_only\n', "w", module=COMPILED),
    Bug("lengths of a later pass ignored", "given = x, targets, state, lengths, named,",
        "given = x, targets, state, None, named,", "w", module=COMPILED),
    Bug("the state of a later pass ignored", "given = x, targets, state, lengths, named,",
        "given = x, targets, None, lengths, named,", "w", module=COMPILED),
    Bug("outputs in kept memory", "        y = aligned_empty(self._y_shape, self._weights.dtype)\n",
        "        y = self._y = getattr(self, '_y', None)\n        if y is None:\n"
        "            y = self._y = aligned_empty(self._y_shape, self._weights.dtype)\n", "w",
        module=PLANS),
    Bug("lengths forgotten on the way back", "put(tape.lengths, None, 1.0)",
        "put(None, None, 1.0)", "k", module=COMPILED),
    Bug("a tape whose plan is taken for the next pass", "self.tape() is not None", "False", "w",
        module=PLANS),
    Bug("padding is not masked", "put(sequence.lengths, objective.weights,",
        "put(sequence.lengths, None,", "kw", module=COMPILED),
    Bug("the scale of the pass before", "objective.weights, objective.scale)",
        "objective.weights, 1.0)", "kw", module=COMPILED),
    Bug("a mean over the sum of weights", "objective.weights, objective.scale)",
        "objective.weights, objective.scale if objective.weights is None else"
        " 1 / max(1e-9, objective.weights.sum()))", "k", module=COMPILED),
    Bug("weights of the pass before", "isinstance(named, Loss) and weighting is None:",
        "isinstance(named, Loss):", "w", module=COMPILED),
    Bug("numbers of another loss", "given = x, targets, state, lengths, named,",
        "given = x, targets, state, lengths, LOSSES.get(named.name, named),", "w",
        module=COMPILED),
    # phases, blocks and groups
    Bug("gradients of a layer left out",
        '                    yield "add", number, way, start\n', "", "k",
        module=ARRAYS),
    Bug("gradients of a layer twice",
        '                    yield "add", number, way, start\n',
        '                    yield "add", number, way, start\n' * 2, "k",
        module=ARRAYS),
    Bug("the second direction stays", "for way in range(self._specs[number].directions):",
        "for way in range(1):",
        "k", module=ARRAYS),
    Bug("gradients of the readout of both directions left out",
        '                    yield "add_read", 0, 0, start\n', "                    pass\n", "k",
        module=ARRAYS),
    Bug("gradients of the readout of both directions twice",
        '                    yield "add_read", 0, 0, start\n',
        '                    yield "add_read", 0, 0, start\n' * 2, "k", module=ARRAYS),
    Bug("the gradient of x not sent", "if self._sends and self._question.wants_x:", "if False:",
        "k", module=ARRAYS),
    Bug("the readout of the last steps left out", 'yield "read_last", 0, 0, 0', "pass", "k",
        module=ARRAYS),
    Bug("layers from the bottom up on the way back",
        "for number in reversed(range(len(self._layers))):\n            for way",
        "for number in range(len(self._layers)):\n            for way", "k", module=ARRAYS),
    Bug("blocks from the first on, on the way back",
        "for start in reversed(self._block_starts(self._steps_of(number))):\n",
        "for start in self._block_starts(self._steps_of(number)):\n", "g", module=ARRAYS),
    Bug("partial sums of the readout before they are whole",
        "for start in reversed(self._block_starts(q.steps)):  #",
        "for start in self._block_starts(q.steps):  #", "f", module=ARRAYS),
    Bug("the last block left out", "range(0, steps, self._block)",
        "range(0, steps - self._block + 1, self._block)", "g", module=ARRAYS),
    Bug("the last lane left out", "lanes = parted(len(groups), 1, min(MAX_LANES, len(groups)))",
        "lanes = parted(len(groups), 1, min(MAX_LANES, len(groups)))[:-1]", "g", module=PLANS),
    Bug("the first sequence left out", "groups = parted(batch, SHARED_SEQUENCES,",
        "groups = [(1, 2), (2, batch)] or parted(batch, SHARED_SEQUENCES,", "g", module=PLANS),
    # layers without a state, the readout's activation, a skip
    Bug("no b_h of a dense layer", "a if b is None else a + b", "a", "d", module="reference/dense"),
    Bug("the gradient of a softmax unit by unit", "(dy * y).sum(axis=-1, keepdims=True)",
        "dy * y", "d", module="reference/dense"),
    Bug("a dense layer without its slope", "da = activated_backward(dy, tape.y, activation)",
        "da = dy", "d", module="reference/dense"),
    Bug("no skip", "return y + tape.x if self.skip else y", "return y", "d", module=NETWORK),
    Bug("no gradient of a skip", "            dh = dh + dy\n", "            pass\n", "d",
        module=NETWORK),
    Bug("a softmax of a softmax", "if objective.loss.name == self.activation:", "if False:", "d",
        module=NETWORK),
    Bug("the readout without its slope", "return losses, self._outputs_backward(dy, a)",
        "return losses, dy", "d", module=NETWORK),
    Bug("compiled, a softmax of a softmax", '"linear" if q.loss == w.activation else w.activation',
        "w.activation", "d", module=ARRAYS),
    Bug("compiled, the readout without its slope", 'if activation != "linear":', "if False:", "d",
        module=ARRAYS),
    Bug("compiled, no gradient of a skip", "self._weights.skips and self._question.wants_x",
        "False", "d", module=ARRAYS),
    Bug("compiled, a dense layer sees the last step of both directions",
        "self._body = weights.body", "pass", "d", module=ARRAYS),
    Bug("no partial sums", "        return self._memory.zeros(*lanes, self._weights.param",
        "        return None and self._memory.zeros(*lanes, self._weights.param", "f",
        module=PLANS),
    # steps that are none
    Bug("steps that are none first", "np.argsort(~valid", "np.argsort(valid", "j", module=MASKING),
    Bug("outputs of the step before the last one", "[self._counts, self._rows]",
        "[np.maximum(self._counts - 1, 0), self._rows]", "j", module=MASKING),
    Bug("outputs beyond the end", "whole[~kept.given] = 0", "pass", "j", module=MASKING),
    Bug("two directions repeat outputs", "if self._top.directions == 2:", "if False:", "j",
        module=MASKING),
    Bug("nothing instead of a readout of zeros", "is_of_none[:, None], outputs",
        "is_of_none[:, None], 0 * outputs", "j", module=MASKING),
    Bug("lengths forgotten beside a mask", "valid = given & self.mask", "valid = self.mask", "j",
        module=MASKING),
    Bug("the gradient of all outputs at once", "kept.gathered(dy), dstate", "dy[: len("
        "kept.gathered(dy))], dstate", "j", module=MASKING),
    Bug("a gradient of steps that are none", "whole[~self.valid] = 0", "pass", "j",
        module=MASKING),
    Bug("targets of other steps", "return kept.gathered(targets), weighting",
        "return targets[: len(kept.x)], weighting", "j", module=MASKING),
    Bug("weights of other steps", "sample_weight=kept.gathered(weighting.sample_weight)",
        "sample_weight=weighting.sample_weight[: len(kept.x)]", "j", module=MASKING),
    Bug("targets of steps that are none counted", "sample_weight=weights.astype(float)",
        "sample_weight=0 * weights + 1.0", "j", module=MASKING),
    Bug("a state that moves where there is no step", "array[~is_step] = kept[~is_step]", "pass",
        "j", module=MASKING),
]
BUGS += [
    Bug(name, old, new, caught_by, *count, module=module)
    for name, old, new, caught_by, module, *count in CELL_BUGS
]
