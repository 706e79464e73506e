"""The bugs that test_breaks.py plants.

Most are in the reference, some in what packs its weights and in what divides the work over threads.
Each is a replacement of text, which must occur exactly as often as it says: when a module is
rewritten, this file has to be looked at too.
"""

import re
from pathlib import Path
from typing import NamedTuple

import crnn

PACKAGE = Path(crnn.__file__).parent

def text_of(*names):
    return "".join((PACKAGE / name).read_text(encoding="utf-8") for name in names)


SOURCES = {  # the reference as one module, which looks up every name in itself
    "reference": re.sub(
        r"from crnn\.reference\.formulas import \([^)]*\)\n", "",
        text_of("reference/formulas.py", "reference/passes.py", "reference/optimisers.py"),
    ) + "\nRUN_IN_THREADS = True\nTrainer = None\n",
    "weights": text_of("weights.py"),
    "threads": text_of("threads.py"),
}


class Bug(NamedTuple):
    """A way to break a module, and the checks that must see it (others may, too)."""

    name: str
    old: str
    new: str
    caught_by: str  # the first letters of checks
    count: int = 1  # how often the old text is there
    module: str = "reference"


# h: worked by hand, c: complex step, k: compiled kernels, l: lengths, s: steps, u: updates
# by hand, p: packing, t: threads
BUGS = [
    # forward
    Bug("bias dropped", "        y += b\n", "        y += 0 * b\n", "hcks"),
    Bug("bias dropped for tokens", "y[...] = W[tokens] + b", "y[...] = W[tokens]", "cks"),
    Bug("weights transposed", "product(previous, W_hh,",
        "product(previous, W_hh[:, : len(W_hh)].T,", "hck"),
    Bug("state of two steps ago", "        previous = h[t]\n",
        "        previous = h[t - 1] if t else h0\n", "hckls"),
    Bug("state never handed on", "        previous = h[t]\n", "", "hckls"),
    Bug("initial state ignored", "    previous = h0\n", "    previous = 0 * h0\n", "hckls"),
    Bug("batch shares a state", "rnn_step(h[t], previous, W", "rnn_step(h[t], previous[:1], W",
        "ckls"),
    Bug("leaky ReLU", "a[a.real < 0] = 0 ", "a[a.real < 0] *= 0.01 ", "hck"),
    # products, of which the compiled ones have panels of 16 columns or more, and two halves of sums
    Bug("last panel dropped", "return x @ packed[:, :outputs]\n",
        "return x @ packed[:, :outputs] * (np.arange(outputs) < max(16, outputs // 16 * 16))\n",
        "k"),
    Bug("last input dropped", "return x @ packed[:, :outputs]\n",
        "return x[..., : len(packed) // 2 * 2] @ packed[: len(packed) // 2 * 2, :outputs]\n",
        "hck"),
    Bug("sums of the wrong half", "return x @ packed[:, :outputs]\n",
        "return np.roll(x, len(packed) // 2, axis=-1) @ packed[:, :outputs]\n", "hck"),
    Bug("sums of one half", "return x @ packed[:, :outputs]\n",
        "return x[..., : -(-len(packed) // 2)] @ packed[: -(-len(packed) // 2), :outputs]\n",
        "hck"),
    # backward through the cell
    Bug("first step skipped", "in reversed(range(len(h)))", "in reversed(range(1, len(h)))", "hck"),
    Bug("last step skipped", "in reversed(range(len(h)))", "in reversed(range(len(h) - 1))", "hck"),
    Bug("steps in forward order", "in reversed(range(len(h)))", "in range(len(h))", "hck"),
    Bug("dstate ignored", "(dh[t] + dstate)", "dh[t]", "hck"),
    Bug("dh ignored", "(dh[t] + dstate)", "dstate", "hck"),
    Bug("dstate not carried", "        dstate[...] = dprevious\n", "", "hck"),
    Bug("dstate piles up", "dstate[...] = dprevious", "dstate[...] += dprevious", "hck"),
    Bug("dstate is da", "dstate[...] = dprevious", "dstate[...] = da", "hck"),
    Bug("da not handed on", "        dh[t] = da\n", "", "hck"),
    Bug("W_hh_T transposed again", "product(da, W_hh_T,", "product(da, W_hh_T[:, : len(W_hh_T)].T,",
        "hck"),
    Bug("W_hh not transposed on the way back", 'packed("W_hh_l0", transposed=True)',
        'packed("W_hh_l0")', "hck"),
    Bug("slope from a", "else 1 - h * h", "else 1 - np.tanh(h) ** 2", "hck"),
    Bug("slope without the square", "else 1 - h * h", "else 1 - h", "hck"),
    Bug("ReLU's slope always 1", "(h.real > 0)", "(h.real >= 0)", "hck"),
    # its weights
    Bug("h[t] for h[t-1]", "before = _rows(self._states[start : start + count])",
        "before = _rows(self._states[start + 1 : start + 1 + count])", "hck"),
    Bug("h[t-2] for h[t-1]", "before = _rows(self._states[start : start + count])",
        "before = _rows(self._states[np.maximum(np.arange(start, start + count) - 1, 0)])", "hck"),
    Bug("h[-1] for h0", "before = _rows(self._states[start : start + count])",
        "before = _rows(self._states[np.arange(start, start + count) - (start == 0)])", "hck"),
    Bug("zeros for h0", "before = _rows(self._states[start : start + count])",
        "before = _rows((np.arange(len(self._states)) > 0)[start : start + count, None, None]"
        " * self._states[start : start + count])", "hck"),
    Bug("h0 of every block", "before = _rows(self._states[start : start + count])",
        "before = _rows(self._states[:count])", "c"),
    Bug("dW_hh transposed", "None, before, da)", "None, da, before)", "hck"),
    Bug("dW_hh starts from W_hh", "        before = _rows(",
        '        d["W_hh_l0"] += self._weights.parameters["W_hh_l0"]\n        before = _rows(',
        "hckl"),
    Bug("dW_hh of one step only", "None, before, da)", "None, before[-1:], da[-1:])", "c"),
    Bug("dW_hh forgotten", '        linear_gradients(d["W_hh_l0"][:, columns], None, before, da)\n',
        "", "c"),
    Bug("da of a whole block's memory", "_rows(self._dh[:count])", "_rows(self._dh)", "c"),
    # lengths
    Bug("lengths ignored forward", "            h[t, over] = previous[over]\n", "", "ckl"),
    Bug("lengths off by one", "over = lengths <= t", "over = lengths < t", "ckl", count=2),
    Bug("lengths off by one backward", "over = lengths <= t\n            da",
        "over = lengths < t\n            da", "ckl"),
    Bug("finished states are zeros", "h[t, over] = previous[over]", "h[t, over] = 0", "ckl"),
    Bug("finished steps get a gradient", "            da[over] = 0\n", "", "ckl"),
    Bug("finished sequences lose theirs", "dprevious[over] = dstate[over]",
        "dprevious[over] = 0", "ckl"),
    Bug("every block has all lengths", "self._lengths[first:last] - start",
        "self._lengths[first:last]", "c"),
    Bug("lengths of the first sequences", "self._lengths[first:last] - start",
        "self._lengths[: last - first] - start", "t"),
    # input projection and readout
    Bug("y not set", "y[...] = product(x, W, y.shape[-1])", "product(x, W, y.shape[-1])", "hck"),
    Bug("dx not set", "            linear(dx, dh, self._weights",
        "            dx[...] = 0\n            linear(dx.copy(), dh, self._weights", "hck"),
    Bug("dx of another block", "dx = self._dx[start : start + count, first:last]",
        "dx = self._dx[:count, first:last]", "c"),
    Bug("dW starts from W", '        dW, db = d["W_xh_l0"][:, columns], d["b_h_l0"][columns]\n',
        '        dW, db = d["W_xh_l0"][:, columns], d["b_h_l0"][columns]\n'
        '        dW += self._weights.parameters["W_xh_l0"][:, columns]\n', "cl"),
    Bug("dW overwritten", "    dW += x.T @ dy\n", "    dW[...] = x.T @ dy\n", "ck"),
    Bug("db overwritten", "        db += dy.sum(axis=0)", "        db[...] = dy.sum(axis=0)", "ck"),
    Bug("db forgotten", "        db += dy.sum(axis=0)", "        pass", "hck"),
    Bug("db is a mean", "db += dy.sum(axis=0)", "db += dy.mean(axis=0)", "hck", count=2),
    Bug("a token counts once", "np.add.at(dW, tokens, dy)", "dW[tokens] += dy", "ck"),
    Bug("a readout of the states before",
        "h = self._states[at + 1 : at + 1 + count, first:last]\n        y",
        "h = self._states[at : at + count, first:last]\n        y", "hcks"),
    Bug("dW_hy of the states before", "h, dy = self._states[at + 1 : at + 1 + count]",
        "h, dy = self._states[at : at + count]", "c"),
    Bug("dW_hy forgotten", '        linear_gradients(d["W_hy"]', '        _ = (d["W_hy"]', "c"),
    Bug("outputs of no sequence but the first", "y = self._y[y_at : y_at + count, first:last]",
        "y = self._y[y_at : y_at + count, : last - first]", "t", count=2),
    # losses
    Bug("softmax without the target", "    gradient[each, chosen] -= scale\n", "", "hck"),
    Bug("softmax takes 1 unscaled", "gradient[each, chosen] -= scale",
        "gradient[each, chosen] -= 1", "ck"),
    Bug("softmax unscaled", "gradient = scale * exponentials", "gradient = exponentials", "ck"),
    Bug("softmax not normalised", "exponentials / total[:, None]", "exponentials", "hck"),
    Bug("softmax overflows", "    rows = rows - _largest(rows)\n", "", "k"),
    Bug("target -1 counts", "valid = targets >= 0", "valid = targets >= -1", "ckl"),
    Bug("target 0 does not count", "valid = targets >= 0", "valid = targets > 0", "hk"),
    Bug("no target keeps its y", "    y[...] = 0\n    y[valid]", "    y[valid]", "ckl"),
    Bug("no target keeps its loss", "    losses[...] = 0\n", "", "ckl"),
    Bug("targets of the first block", "slice(start, start + count), slice(first, last)",
        "slice(0, count), slice(first, last)", "c"),
    Bug("mse without the 2", "scale * 2 * error", "scale * error", "hck"),
    Bug("mse unscaled", "scale * 2 * error", "2 * error", "ck"),
    Bug("mse of the wrong sign", "scale * 2 * error", "-scale * 2 * error", "hck"),
    Bug("sigmoid of the wrong sign", "scale * (sigmoid - targets[valid])",
        "scale * (targets[valid] - sigmoid)", "ck"),
    Bug("sigmoid without its target", "- z * targets[valid] +", "- z +", "ck"),
    Bug("sigmoid of -|y|", "np.where(positive, 1, small)", "small", "ck"),
    Bug("sigmoid overflows", "np.exp(np.where(positive, -z, z))", "np.exp(z)", "ck"),
    # steps
    Bug("a step forgets", "self._h = rnn_step(a, self._h,", "self._h = rnn_step(a, 0 * self._h,",
        "s"),
    Bug("a step keeps its old state", "self._h = rnn_step(a", "rnn_step(a", "s"),
    Bug("a step without b_h", '@ p["W_xh_l0"] + p["b_h_l0"]', '@ p["W_xh_l0"]', "s"),
    Bug("a step without b_h for tokens", '(self.batch_size)] + p["b_h_l0"]', "(self.batch_size)]",
        "s"),
    Bug("a step without b_y", '@ p["W_hy"] + p["b_y"]', '@ p["W_hy"]', "s"),
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
    # packed weights
    Bug("packed once and for all", "copy is None or copy[1] != self.changes.item()",
        "copy is None", "p", module="weights"),
    Bug("packed anew every second time", "copy is None or copy[1] != self.changes.item()",
        "copy is None or copy[1] < self.changes.item() - 1", "p", module="weights"),
    Bug("a copy that is never transposed", "self.parameters[name].T if transposed else",
        'self.parameters[name].T if transposed and name != "W_hh_l0" else', "c", module="weights"),
    Bug("one copy for both directions", "key = name, transposed",
        'key = name, transposed and name != "W_hh_l0"', "c", module="weights"),
    # threads
    Bug("parts end one too early", "itertools.pairwise(bounds)",
        "zip(bounds, [bound - 1 for bound in bounds[1:]])", "t", module="threads"),
    Bug("the first part begins one too late", "itertools.pairwise(bounds)",
        "zip([1, *bounds[1:]], bounds[1:])", "t", module="threads"),
    Bug("parts begin one too early", "itertools.pairwise(bounds)",
        "zip([max(0, bound - 1) for bound in bounds], bounds[1:])", "t",
        module="threads"),
    Bug("last part left out", "itertools.pairwise(bounds)",
        "itertools.pairwise(bounds[:-1])", "t", module="threads"),
    Bug("a task left out", "left = iter(tasks)", "left = iter(tasks[1:])", "t", module="threads"),
]
