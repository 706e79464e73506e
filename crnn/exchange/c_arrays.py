"""Arrays in a C header: as constants, in float, or in int8 with scales."""

import numpy as np

WIDTH = 100


class FloatWeights:
    """Matrices are float32, with digits enough to be read back exactly."""

    includes = ()
    words = "float32"
    parameters = "const float *W"
    factor, element, row = "x[i]", "W[j]", "W[j]"  # of add_product and add_row

    @staticmethod
    def constants(name, matrix):
        """Return the constants that a matrix is."""
        return [constant("float", name, matrix)]

    @staticmethod
    def arguments(name):
        """Return what a function is given of a matrix."""
        return name

    @staticmethod
    def bytes(matrix):
        """Return how much memory a matrix takes."""
        return 4 * matrix.size


class Int8Weights:
    """Matrices are int8, each row of them with a scale in float32."""

    includes = ("stdint.h",)
    words = "int8, each row with a scale, and biases float32"
    parameters = "const int8_t *W, const float *scale"
    factor, element, row = "x[i] * scale[i]", "(float)W[j]", "scale[row] * (float)W[j]"

    @staticmethod
    def constants(name, matrix):
        """Return the constants that a matrix is."""
        whole, scale = rounded(matrix)
        return [constant("int8_t", name, whole), constant("float", f"{name}_scale", scale)]

    @staticmethod
    def arguments(name):
        """Return what a function is given of a matrix."""
        return f"{name}, {name}_scale"

    @staticmethod
    def bytes(matrix):
        """Return how much memory a matrix takes."""
        return matrix.size + 4 * len(matrix)


WEIGHTS = {"float": FloatWeights, "int8": Int8Weights}


def rounded(matrix):
    """Return a matrix (n, m) as int8, and the scale (n,) of its rows, whose largest number is 127.

    Examples
    --------
    >>> rounded(np.array([[0.5, -1.27], [0.0, 0.0]]))
    (array([[  50, -127],
           [   0,    0]], dtype=int8), array([0.01, 0.  ], dtype=float32))
    """
    scale = (abs(matrix).max(axis=1) / 127).astype(np.float32)
    whole = np.rint(matrix / np.where(scale == 0, 1, scale)[:, None])
    return whole.clip(-127, 127).astype(np.int8), scale


def constant(kind, name, array):
    """Return the definition of a constant array, one row after the other.

    Parameters
    ----------
    kind : {"float", "int8_t"}
    name : str
    array : ndarray

    Examples
    --------
    >>> print(constant("float", "b", np.float32([0.1, -1e-5])))
    static const float b[2] = {  /* 2 */
        0.1f, -1e-05f,
    };
    """
    lines, line = [], ""
    for number in array.ravel():
        text = f"{number!s}{'f' * (kind == 'float')},"  # the shortest that is read back exactly
        if len(line) + len(text) > WIDTH - 6:
            lines.append(line)
            line = ""
        line += f" {text}" if line else text
    body = "\n".join(f"    {each}" for each in [*lines, line])
    shape = " x ".join(map(str, array.shape))
    return f"static const {kind} {name}[{array.size}] = {{  /* {shape} */\n{body}\n}};"
