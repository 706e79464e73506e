# Losses over rows of outputs: each leaves the loss of every row in `losses`, in double, and in y
# the gradient times `scale`, so that outputs and their gradients share one memory. A row without a
# target has no loss and no gradient. Arrays are (T, B, n) and (T, B).

from libc.math cimport exp, fabs, log, log1p

cdef enum:
    LANES = 16              # partial results of a loop over a row, the same in every build


cdef inline real largest_of(const real *y, Py_ssize_t n) noexcept nogil:
    # y (n,).max()
    cdef Py_ssize_t i, j, whole = n // LANES
    cdef real largest[LANES]
    for j in range(LANES):
        largest[j] = y[0]
    for i in range(whole):
        for j in range(LANES):
            largest[j] = y[i * LANES + j] if y[i * LANES + j] > largest[j] else largest[j]
    for i in range(whole * LANES, n):
        largest[0] = y[i] if y[i] > largest[0] else largest[0]
    for j in range(1, LANES):
        largest[0] = largest[j] if largest[j] > largest[0] else largest[0]
    return largest[0]


cdef inline double sum_of(const real *y, Py_ssize_t n) noexcept nogil:
    # y (n,).sum(), in double
    cdef Py_ssize_t i, j, whole = n // LANES
    cdef double total[LANES]
    for j in range(LANES):
        total[j] = 0
    for i in range(whole):
        for j in range(LANES):
            total[j] = total[j] + y[i * LANES + j]
    for i in range(whole * LANES, n):
        total[0] = total[0] + y[i]
    for j in range(1, LANES):
        total[0] = total[0] + total[j]
    return total[0]


cdef inline double softmax_row(
    real *y, Py_ssize_t target, double scale, Py_ssize_t n
) noexcept nogil:
    # -log softmax(y)[target]; y (n,) = scale * (softmax(y) - one_hot(target))
    cdef Py_ssize_t j
    cdef real largest = largest_of(y, n), factor
    cdef double total, chosen = y[target] - largest
    for j in range(n):
        y[j] = exp_below_1(y[j] - largest)
    total = sum_of(y, n)
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
        total += multiply_add[double](-z, targets[j], 0 if z < 0 else z) + log1p(small)
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
        total = multiply_add[double](error, error, total)
        y[j] = <real> (scale * 2 * error)
    return total


cdef inline double no_loss(real *y, Py_ssize_t n) noexcept nogil:
    # of a row without a target: 0; y (n,) = 0
    memset(y, 0, n * sizeof(real))
    return 0
