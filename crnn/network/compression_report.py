"""What became of a network's weights and outputs when it was compressed."""

import dataclasses

import numpy as np

from crnn.base.compression import FAST_NUMBERS, INT8_INPUTS, compressed_names, stored, weight_names


@dataclasses.dataclass(frozen=True)
class Report:
    """What `compress` found.

    Attributes
    ----------
    format : str
    weights : dict of str to tuple
        Of each weight W_xh, W_hh and W_hy: its shape; its format, "float32" where it stays as it
        is; and whether it becomes faster. A table of tokens does not: it is looked up.
    bytes : tuple of int
        Of all parameters in memory as float32, and in files now.
    error : float or None
        The largest error of an output, divided by the largest output. None without data.
    loss : tuple of float, or None
        Before and after. None without targets.
    loss_name : str or None
    """

    format: str
    weights: dict
    bytes: tuple
    error: float | None = None
    loss: tuple | None = None
    loss_name: str | None = None

    @property
    def is_faster(self):
        """Whether any weight is so large that its format is faster."""
        return any(faster for *_, faster in self.weights.values())

    @property
    def perplexity(self):
        """exp(loss) of "softmax" before and after, or None."""
        if self.loss_name != "softmax":
            return None
        with np.errstate(over="ignore"):  # exp(710) is infinite
            return tuple(np.exp(self.loss).tolist())

    @property
    def advice(self):
        """That it makes nothing faster, or an empty text."""
        if self.is_faster:
            return ""
        limit = f" and at most {INT8_INPUTS:,} inputs" * (self.format == "int8")
        return (f"{self.format} makes this network no faster: it multiplies with no weight of more"
                f" than {FAST_NUMBERS:,} numbers{limit}; smaller ones stay in L1 as float32")

    def __str__(self):
        before, after = self.bytes
        rows = [f"{self.format}: {after:,} bytes of parameters, {after / before:.0%} of {before:,}"]
        rows += [f"  {name} {' x '.join(map(str, shape))}: {form}{'' if faster else ', no faster'}"
                 for name, (shape, form, faster) in self.weights.items()]
        if self.error is not None:
            rows.append(f"largest error of an output: {self.error:.2%} of the largest output")
        if self.loss is not None:
            rows.append("loss ({}): {:.6g} before, {:.6g} after".format(self.loss_name, *self.loss))
        if self.perplexity is not None:
            rows[-1] += "; perplexity {:.6g}, {:.6g}".format(*self.perplexity)
        return "\n".join([*rows, *filter(None, [self.advice])])

    __repr__ = __str__


def report_of(net, compressed, tables, data):
    """Return the `Report` of a network and of what it was compressed to.

    Parameters
    ----------
    net : Trainable
    compressed : Compressed
    tables : set of str
        The names of weights that tokens are looked up in.
    data : as for `compress`
    """
    form = compressed.format
    shapes = {name: each.shape for name, each in compressed.parameters.items()}
    names = compressed_names(shapes, form)
    weights = {
        name: (shapes[name], form if name in names else "float32", name in set(names) - tables)
        for name in weight_names(shapes)
    }
    sizes = (compressed.vector.nbytes,
             sum(each.nbytes for each in stored(compressed.parameters, form).values()))
    report = Report(form, weights, sizes)
    if data is None:
        return report
    x, targets, lengths = _taken_apart(data)
    error = largest_error(net(x, lengths=lengths)[0], compressed(x, lengths=lengths)[0])
    report = dataclasses.replace(report, error=error)
    if targets is None:
        return report
    name = net.meaning
    both = tuple(each.loss(x, targets, loss=name, lengths=lengths)[0] for each in (net, compressed))
    return dataclasses.replace(report, loss=both, loss_name=name)


def _taken_apart(data):
    """Return x, targets and lengths of x alone, (x, targets) or (x, targets, lengths)."""
    if not isinstance(data, tuple):
        return data, None, None
    if len(data) not in (2, 3):
        raise ValueError(
            f"data is a tuple of {len(data)}; x, (x, targets) or (x, targets, lengths) is wanted")
    return (*data, None)[:3]


def largest_error(y, other):
    """Return the largest difference of outputs, divided by the largest output."""
    if isinstance(y, list):
        y, other = np.concatenate(y), np.concatenate(other)
    most = np.abs(y).max(initial=0)
    difference = np.abs(other.astype(np.float64) - y).max(initial=0)
    return float(difference / most) if most else float(difference)
