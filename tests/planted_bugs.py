"""The bugs that test_breaks.py plants.

Most are in the reference, some in what packs its weights, in what lays layers and directions
together and in what divides the work over threads. Each is a replacement of text, which must occur
exactly as often as it says: when a module is rewritten, this file has to be looked at too. The bugs
of cells, layers and directions are in planted_cell_bugs.py.
"""

from pathlib import Path
from typing import NamedTuple

from planted_cell_bugs import CELL_BUGS

import crnn

PACKAGE = Path(crnn.__file__).parent
SOURCES = {  # of a package's modules each after those that it imports, itself last
    name: (PACKAGE / f"{name}.py").read_text(encoding="utf-8")
    for name in (
        *(f"reference/{part}" for part in (
            "formulas", "optimizers", "rnn", "gru", "lstm", "cells", "layer", "readout",
            "stepper")),
        *(f"engine/{part}" for part in ("packing", "sequences", "stack", "engine", "threads")),
    )
}
SOURCES["reference"] = (PACKAGE / "reference" / "__init__.py").read_text(encoding="utf-8")


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
# s: steps, a: layers and directions apart, u: updates by hand, p: packing, t: threads
DW_HH = 'd["W_hh"][units, :together], before, da[:, :together])'
BEFORE = "before = rows(self._states[start : start + count])"
BUGS = [
    # forward
    Bug("bias dropped", "        y += b\n", "        y += 0 * b\n", "hcks"),
    Bug("bias dropped for tokens", "    y[...] = W[tokens]\n    y += b\n",
        "    y[...] = W[tokens]\n", "cks"),
    Bug("weights transposed", "product(before, weights.packed(\"W_hh\"), a.shape[1])",
        "product(before, weights.packed(\"W_hh\")[:, : a.shape[1]].T, a.shape[1])", "hck"),
    Bug("state of two steps ago", "kept_before = self._state(at + t, part)\n            h, kept",
        "kept_before = self._state(max(at + t - 1, 0), part)\n            h, kept", "hckls"),
    Bug("state never handed on", "kept_before = self._state(at + t, part)\n            h, kept",
        "kept_before = self._state(at, part)\n            h, kept", "hckls"),
    Bug("initial state ignored", "kept_before = self._state(at + t, part)\n            h, kept",
        "kept_before = self._state(at + t, part)\n            before = before * (t > 0)\n"
        "            h, kept", "hckls"),
    Bug("batch shares a state", "h, kept, gates = self._cell.step(a[t], before,",
        "h, kept, gates = self._cell.step(a[t], 0 * before + before[:1],", "ckls"),
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
    Bug("first step skipped", "in reversed(range(count))", "in reversed(range(1, count))", "hck"),
    Bug("last step skipped", "in reversed(range(count))", "in reversed(range(count - 1))", "hck"),
    Bug("steps in forward order", "in reversed(range(count))", "in range(count)", "hck"),
    Bug("dstate ignored", "self._dh[dh_at + t, part] + dstate, dc,",
        "self._dh[dh_at + t, part], dc,", "hck"),
    Bug("dh ignored", "self._dh[dh_at + t, part] + dstate, dc,",
        "1 * dstate, dc,", "hck"),
    Bug("dstate not carried", "            dstate[~over] = dbefore[~over]\n", "", "hck"),
    Bug("dstate piles up", "dstate[~over] = dbefore", "dstate[~over] += dbefore", "hck"),
    Bug("dstate is da", "dstate[~over] = dbefore[~over]",
        "dstate[~over] = da[t, ~over, : dstate.shape[1]]", "hck"),
    Bug("da not handed on", "da[t], dkept,", "_, dkept,", "hck"),
    Bug("W_hh_T transposed again", 'product(da, weights.packed("W_hh", transposed=True), da',
        'product(da, weights.packed("W_hh", transposed=True)[:, : da.shape[1]].T, da', "hck"),
    Bug("W_hh not transposed on the way back",
        'product(da, weights.packed("W_hh", transposed=True), da',
        'product(da, weights.packed("W_hh"), da', "hck"),
    Bug("slope from a", "else 1 - h * h", "else 1 - np.tanh(h) ** 2", "hck"),
    Bug("slope without the square", "else 1 - h * h", "else 1 - h", "hck"),
    Bug("ReLU's slope always 1", "(h.real > 0)", "(h.real >= 0)", "hck"),
    # its weights
    Bug("h[t] for h[t-1]", BEFORE,
        "before = rows(self._states[start + 1 : start + 1 + count])", "hck"),
    Bug("h[t-2] for h[t-1]", BEFORE,
        "before = rows(self._states[np.maximum(np.arange(start, start + count) - 1, 0)])", "hck"),
    Bug("h[-1] for h0", BEFORE,
        "before = rows(self._states[np.arange(start, start + count) - (start == 0)])", "hck"),
    Bug("zeros for h0", BEFORE,
        "before = rows((np.arange(len(self._states)) > 0)[start : start + count, None, None]"
        " * self._states[start : start + count])", "hck"),
    Bug("h0 of every block", BEFORE,
        "before = rows(self._states[:count])", "c"),
    Bug("dW_hh transposed", DW_HH,
        'd["W_hh"][units, :together], da[:, :together], before)', "hck"),
    Bug("dW_hh starts from W_xh", "        before = rows(",
        '        d["W_hh"] += self._weights.packed("W_xh")[:1, :1]\n'
        "        before = rows(", "hck"),
    Bug("dW_hh of one step only", DW_HH,
        'd["W_hh"][units, :together], before[-1:], da[-1:, :together])', "c"),
    Bug("dW_hh forgotten", "linear_gradients(" + DW_HH, "()", "c"),
    Bug("da of a whole block's memory", "self._da is None else self._da[:count]",
        "self._da is None else self._da", "c"),
    Bug("dh of the first block", "return self._dh[dh_at : dh_at + count]",
        "return self._dh[:count]",
        "c"),
    # lengths
    Bug("lengths ignored forward", "            h[over] = before[over]\n", "", "ckl"),
    Bug("lengths off by one", "self._lengths[part] <= t", "self._lengths[part] < t", "ckl"),
    Bug("lengths off by one backward", "over, gates = self._over(start + t, part)",
        "over, gates = self._over(start + t - 1, part)", "ckl"),
    Bug("finished states are zeros", "h[over] = before[over]", "h[over] = 0", "ckl"),
    Bug("finished steps get a gradient", "            da[t, over] = 0\n", "", "ckl"),
    Bug("finished sequences lose theirs", "dstate[~over] = dbefore[~over]",
        "dstate[...] = dbefore * ~over[:, None]", "ckl"),
    Bug("every block has all lengths", "over, gates = self._over(start + t, part)",
        "over, gates = self._over(t, part)", "c"),
    Bug("lengths of the first sequences", "self._lengths[part] <= t",
        "self._lengths[: len(self._lengths[part])] <= t", "t"),
    # input projection and readout
    Bug("y not set", "y[...] = product(x, W, y.shape[-1])", "product(x, W, y.shape[-1])", "hck"),
    Bug("dx not set", "linear(self._dx[start : start + count, part], da",
        "self._dx[...] = 0\n            linear(self._dx[start : start + count, part].copy(), da",
        "hck"),
    Bug("dx of another block", "linear(self._dx[start : start + count, part], da",
        "linear(self._dx[:count, part], da", "c"),
    Bug("dW starts from W", "            inputs = share(",
        '            d["W_xh"] += self._weights.W_xh\n            inputs = share(', "cl"),
    Bug("dW overwritten", "    dW += x.T @ dy\n", "    dW[...] = x.T @ dy\n", "ck"),
    Bug("db overwritten", "    db += dy.sum(axis=0)", "    db[...] = dy.sum(axis=0)", "ck"),
    Bug("db forgotten", "    db += dy.sum(axis=0)", "    pass", "hck"),
    Bug("db is a mean", "db += dy.sum(axis=0)", "db += dy.mean(axis=0)", "hck"),
    Bug("a token counts once", "np.add.at(dW, tokens, dy)", "dW[tokens] += dy", "ck"),
    Bug("a readout of the states before",
        "h = self._states[at + 1 : at + 1 + count, first:last]\n        y",
        "h = self._states[at : at + count, first:last]\n        y", "hcks"),
    Bug("dW_hy of the states before", "h = rows(self._states[at + 1 : at + 1 + count])",
        "h = rows(self._states[at : at + count])", "c"),
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
    Bug("sigmoid of -|y|", "sigmoid = np.where(positive, 1, small)", "sigmoid = small", "ck"),
    Bug("sigmoid overflows", "np.exp(np.where(positive, -z, z))", "np.exp(z)", "ck"),
    # steps
    Bug("a step forgets", "step(a, h[k], c[k], layer)", "step(a, 0 * h[k], c[k], layer)", "s"),
    Bug("a step keeps its old state", "            h[k], kept, _ =", "            y, kept, _ =",
        "s"),
    Bug("a step keeps its old c", "                c[k] = kept\n", "                pass\n", "s"),
    Bug("a step without b_h", " + layer.b_h", " + 0 * layer.b_h", "s"),
    Bug("a step looks up in every layer", "if is_tokens and k == 0 else", "if is_tokens else", "s"),
    Bug("a layer's step gets the network's input", "            y = h[k]\n",
        "            y = h[k] if k == len(w.layers) - 1 else y\n", "s"),
    Bug("a step without b_y", '@ w.parameters["W_hy"] + w.parameters["b_y"]',
        '@ w.parameters["W_hy"]', "s"),
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
        "copy is None", "p", module="engine/packing"),
    Bug("packed anew every second time", "copy is None or copy[1] != self.changes.item()",
        "copy is None or copy[1] < self.changes.item() - 1", "p", module="engine/packing"),
    Bug("a copy that is never transposed", "weight = weight.T if transposed else weight",
        'weight = weight.T if transposed and "W_hh" not in name else weight', "c",
        module="engine/packing"),
    Bug("one copy for both directions", "key = name, transposed, columns",
        'key = name, transposed and "W_hh" not in name, columns', "c", module="engine/packing"),
    # threads
    Bug("parts end one too early", "itertools.pairwise(bounds)",
        "zip(bounds, [bound - 1 for bound in bounds[1:]])", "t", module="engine/threads"),
    Bug("the first part begins one too late", "itertools.pairwise(bounds)",
        "zip([1, *bounds[1:]], bounds[1:])", "t", module="engine/threads"),
    Bug("parts begin one too early", "itertools.pairwise(bounds)",
        "zip([max(0, bound - 1) for bound in bounds], bounds[1:])", "t",
        module="engine/threads"),
    Bug("last part left out", "itertools.pairwise(bounds)",
        "itertools.pairwise(bounds[:-1])", "t", module="engine/threads"),
    Bug("one task in place of all", "for task in phase])", "for task in phase[:1] * len(phase)])",
        "t", module="engine/threads"),
]
BUGS += [
    Bug(name, old, new, caught_by, *count, module=module)
    for name, old, new, caught_by, module, *count in CELL_BUGS
]
