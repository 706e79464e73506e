# Losses over rows of outputs: each returns the sum over its valid targets, in double, and leaves in
# y the gradient times `scale`, so that outputs and their gradients share one memory.

from libc.math cimport exp, expf, fabs, log, log1p

cdef extern from *:
    """
    /* a * b + c with one rounding where the build has it. Left to itself the compiler fuses such a
       sum in one build and not in the next, and the same losses would differ in their last bit. */
    #ifdef __FMA__
    #define MULTIPLY_ADD(a, b, c) __builtin_fma((a), (b), (c))
    #else
    #define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
    #endif
    """
    double MULTIPLY_ADD(double a, double b, double c) noexcept nogil


cdef inline real exponential(real x) noexcept nogil:
    if real is float:
        return expf(x)
    else:
        return exp(x)


cdef inline double softmax_row(
    real *y, Py_ssize_t target, double scale, Py_ssize_t n
) noexcept nogil:
    # -log softmax(y)[target]; y (n,) = scale * (softmax(y) - one_hot(target))
    cdef Py_ssize_t j
    cdef real largest = y[0], factor
    cdef double total = 0, chosen
    for j in range(1, n):
        largest = y[j] if y[j] > largest else largest
    chosen = y[target] - largest
    for j in range(n):
        y[j] = exponential(y[j] - largest)
        total += y[j]
    factor = <real> (scale / total)
    for j in range(n):
        y[j] = y[j] * factor
    y[target] = y[target] - <real> scale
    return log(total) - chosen


cdef inline double sigmoid_row(
    real *y, const real *targets, double scale, Py_ssize_t n
) noexcept nogil:
    # sum of log(1 + exp(y)) - y * target, without overflow; y (n,) = scale * (sigmoid(y) - target)
    cdef Py_ssize_t j
    cdef double z, small, total = 0
    for j in range(n):
        z = y[j]
        small = exp(-fabs(z))
        total += MULTIPLY_ADD(-z, targets[j], 0 if z < 0 else z) + log1p(small)
        y[j] = <real> (scale * ((small if z < 0 else 1) / (1 + small) - targets[j]))
    return total


cdef inline double squared_error_row(
    real *y, const real *targets, double scale, Py_ssize_t n
) noexcept nogil:
    # sum of (y - target)**2; y (n,) = scale * 2 * (y - target)
    cdef Py_ssize_t j
    cdef double error, total = 0
    for j in range(n):
        error = <double> y[j] - targets[j]
        total = MULTIPLY_ADD(error, error, total)
        y[j] = <real> (scale * 2 * error)
    return total


def softmax_loss(real[:, ::1] y not None, const Py_ssize_t[::1] targets not None, double scale):
    cdef Py_ssize_t r, rows = y.shape[0], n = y.shape[1]
    cdef double total = 0
    with nogil:
        for r in range(rows):
            if targets[r] < 0:
                memset(&y[r, 0], 0, n * sizeof(real))
            else:
                total += softmax_row(&y[r, 0], targets[r], scale, n)
    return total


def sigmoid_loss(
    real[:, ::1] y not None, const real[:, ::1] targets not None,
    const unsigned char[::1] valid not None, double scale,
):
    cdef Py_ssize_t r, rows = y.shape[0], n = y.shape[1]
    cdef double total = 0
    with nogil:
        for r in range(rows):
            if valid[r]:
                total += sigmoid_row(&y[r, 0], &targets[r, 0], scale, n)
            else:
                memset(&y[r, 0], 0, n * sizeof(real))
    return total


def mse_loss(
    real[:, ::1] y not None, const real[:, ::1] targets not None,
    const unsigned char[::1] valid not None, double scale,
):
    cdef Py_ssize_t r, rows = y.shape[0], n = y.shape[1]
    cdef double total = 0
    with nogil:
        for r in range(rows):
            if valid[r]:
                total += squared_error_row(&y[r, 0], &targets[r, 0], scale, n)
            else:
                memset(&y[r, 0], 0, n * sizeof(real))
    return total
