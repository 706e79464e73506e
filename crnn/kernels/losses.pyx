# Losses over rows of outputs: each leaves the loss of every row in `losses`, in double, and in y
# the gradient times `scale`, so that outputs and their gradients share one memory. A row without a
# target has no loss and no gradient. Arrays are (T, B, n) and (T, B).

from libc.math cimport exp, fabs, log, log1p

cdef enum:
    LANES = 16              # partial results of a loop over a row, the same in every build
    SOFTMAX_ROWS = 8        # at a time: what is done to one row does not wait for another


cdef inline inlined_void keep_larger(real *a, Py_ssize_t n) noexcept nogil:
    # a (n,) = np.maximum(a (n,), the next n)
    cdef Py_ssize_t j
    for j in range(n):
        a[j] = a[n + j] if a[n + j] > a[j] else a[j]


cdef inline inlined_void add_next(double *a, Py_ssize_t n) noexcept nogil:
    # a (n,) += the next n
    cdef Py_ssize_t j
    for j in range(n):
        a[j] = a[j] + a[n + j]


cdef inline real largest_of(const real *y, Py_ssize_t n) noexcept nogil:
    # y (n,).max()
    cdef Py_ssize_t i, j, whole = n // LANES
    cdef real largest[LANES]
    cdef real result
    for j in range(LANES):
        largest[j] = y[0]
    for i in range(whole):
        for j in range(LANES):
            largest[j] = y[i * LANES + j] if y[i * LANES + j] > largest[j] else largest[j]
    keep_larger(largest, 8)
    keep_larger(largest, 4)
    keep_larger(largest, 2)
    keep_larger(largest, 1)
    result = largest[0]
    for i in range(whole * LANES, n):
        result = y[i] if y[i] > result else result
    return result


cdef inline double sum_of(const real *y, Py_ssize_t n) noexcept nogil:
    # y (n,).sum(), in double
    cdef Py_ssize_t i, j, whole = n // LANES
    cdef double total[LANES]
    cdef double result
    for j in range(LANES):
        total[j] = 0
    for i in range(whole):
        for j in range(LANES):
            total[j] = total[j] + y[i * LANES + j]
    add_next(total, 8)
    add_next(total, 4)
    add_next(total, 2)
    add_next(total, 1)
    result = total[0]
    for i in range(whole * LANES, n):
        result = result + y[i]
    return result


cdef inline double no_loss(real *y, Py_ssize_t n) noexcept nogil:
    # of a row without a target: 0; y (n,) = 0
    memset(y, 0, n * sizeof(real))
    return 0


cdef inline void softmax_rows(
    real *y, double *losses, const Py_ssize_t *targets, double scale, Py_ssize_t rows, Py_ssize_t n
) noexcept nogil:
    # losses (rows,) = -log softmax(y)[target], y (rows, n) = scale * (softmax(y) - one_hot(target))
    # of up to SOFTMAX_ROWS rows, of which those whose target is negative have none
    cdef Py_ssize_t r, j
    cdef real largest[SOFTMAX_ROWS]
    cdef double total[SOFTMAX_ROWS]
    cdef real factor
    for r in range(rows):
        largest[r] = largest_of(y + r * n, n)
    for r in range(rows):
        losses[r] = largest[r] - y[r * n + max(0, targets[r])]
        for j in range(n):
            y[r * n + j] = exp_below_1(y[r * n + j] - largest[r])
    for r in range(rows):
        total[r] = sum_of(y + r * n, n)
    for r in range(rows):
        factor = <real> (scale / total[r])
        for j in range(n):
            y[r * n + j] = y[r * n + j] * factor
    for r in range(rows):
        if targets[r] < 0:
            losses[r] = no_loss(y + r * n, n)
        else:
            losses[r] = log(total[r]) + losses[r]
            y[r * n + targets[r]] = y[r * n + targets[r]] - <real> scale


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
