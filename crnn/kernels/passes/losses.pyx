# Losses over rows of outputs: each leaves the loss of every row in `losses`, in double, and in y
# the gradient times `scale`, so that outputs and their gradients share one memory. A row without a
# target has no loss and no gradient. Arrays are (T, B, n) and (T, B).

from libc.math cimport fabs, log

cdef enum:
    FILLING = -1000         # an output whose sigmoid loss is 0 where its target is


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
    cdef Py_ssize_t i, j, whole = n // LOSS_LANES
    cdef real largest[LOSS_LANES]
    cdef real result
    for j in range(LOSS_LANES):
        largest[j] = y[0]
    for i in range(whole):
        for j in range(LOSS_LANES):
            largest[j] = y[i * LOSS_LANES + j] if y[i * LOSS_LANES + j] > largest[j] else largest[j]
    keep_larger(largest, 8)
    keep_larger(largest, 4)
    keep_larger(largest, 2)
    keep_larger(largest, 1)
    result = largest[0]
    for i in range(whole * LOSS_LANES, n):
        result = y[i] if y[i] > result else result
    return result


cdef inline double sum_of_lanes(double *total) noexcept nogil:
    # total (LOSS_LANES,).sum(); overwrites total
    add_next(total, 8)
    add_next(total, 4)
    add_next(total, 2)
    add_next(total, 1)
    return total[0]


cdef inline double sum_of(const real *y, Py_ssize_t n) noexcept nogil:
    # y (n,).sum(), in double
    cdef Py_ssize_t i, j, whole = n // LOSS_LANES
    cdef double total[LOSS_LANES]
    cdef double result
    for j in range(LOSS_LANES):
        total[j] = 0
    for i in range(whole):
        for j in range(LOSS_LANES):
            total[j] = total[j] + y[i * LOSS_LANES + j]
    result = sum_of_lanes(total)
    for i in range(whole * LOSS_LANES, n):
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


cdef inline double log1p_to_1(double s) noexcept nogil:
    # log(1 + s) of 0 <= s <= 1: 2 artanh(u), u = s / (2 + s), by its series up to u^31. As u is 1/3
    # at most, what is left out is below 1e-16 of it, however small s is. With s from exp_below_1,
    # the error stays below 5 units in the last place.
    cdef double u = s / (2 + s), u2 = u * u, u4 = u2 * u2, p
    p = multiply_add_double(2.0 / 31.0, u2, 2.0 / 29.0)
    p = multiply_add_double(p, u4, multiply_add_double(2.0 / 27.0, u2, 2.0 / 25.0))
    p = multiply_add_double(p, u4, multiply_add_double(2.0 / 23.0, u2, 2.0 / 21.0))
    p = multiply_add_double(p, u4, multiply_add_double(2.0 / 19.0, u2, 2.0 / 17.0))
    p = multiply_add_double(p, u4, multiply_add_double(2.0 / 15.0, u2, 2.0 / 13.0))
    p = multiply_add_double(p, u4, multiply_add_double(2.0 / 11.0, u2, 2.0 / 9.0))
    p = multiply_add_double(p, u4, multiply_add_double(2.0 / 7.0, u2, 2.0 / 5.0))
    p = multiply_add_double(p, u4, multiply_add_double(2.0 / 3.0, u2, 2))
    return u * p


cdef inline inlined_void sigmoid_lanes(
    real *y, double *total, const real *targets, double scale
) noexcept nogil:
    # total (LOSS_LANES,) += log(1 + exp(y)) - y * target, without overflow;
    # y (LOSS_LANES,) = scale * (sigmoid(y) - target)
    cdef Py_ssize_t j
    cdef double z, small
    for j in range(LOSS_LANES):
        z = y[j]
        small = exp_below_1_double(-fabs(z))
        total[j] = total[j] + (
            multiply_add_double(-z, targets[j], 0 if z < 0 else z) + log1p_to_1(small))
        y[j] = <real> (scale * ((small if z < 0 else 1) / (1 + small) - targets[j]))


cdef inline double sigmoid_row(
    real *y, const real *targets, double scale, Py_ssize_t n
) noexcept nogil:
    # the sum of what sigmoid_lanes adds up for y (n,), which becomes the gradient
    cdef Py_ssize_t i, j, whole = n // LOSS_LANES, rest = n % LOSS_LANES
    cdef double total[LOSS_LANES]
    cdef real edge[LOSS_LANES]
    cdef real edge_targets[LOSS_LANES]
    for j in range(LOSS_LANES):
        total[j] = edge_targets[j] = 0
        edge[j] = FILLING
    for i in range(whole):
        sigmoid_lanes(y + i * LOSS_LANES, total, targets + i * LOSS_LANES, scale)
    if rest:
        copy(edge, y + n - rest, rest)
        copy(edge_targets, targets + n - rest, rest)
        sigmoid_lanes(edge, total, edge_targets, scale)
        copy(y + n - rest, edge, rest)
    return sum_of_lanes(total)


cdef inline double squared_error_row(
    real *y, const real *targets, double scale, Py_ssize_t n
) noexcept nogil:
    # sum of (y - target)**2; y (n,) = scale * 2 * (y - target)
    cdef Py_ssize_t j
    cdef double error, total = 0
    for j in range(n):
        error = <double> y[j] - targets[j]
        total = multiply_add_double(error, error, total)
        y[j] = <real> (scale * 2 * error)
    return total


def row_losses(str loss, tuple arrays, targets, double[::1] losses not None, double scale):
    # for tests: of arrays (y,), which becomes the gradient, or (y, targets), all (n, O); else
    # targets (n,) are tokens
    cdef real *p[2]
    cdef Py_ssize_t r = 0, rows = losses.shape[0], n = arrays[0].shape[1]
    all_numbers(p, arrays)
    while r < rows:
        if loss == "softmax":
            softmax_rows(p[0] + r * n, &losses[r], indices(targets) + r, scale,
                         min(SOFTMAX_ROWS, rows - r), n)
            r += SOFTMAX_ROWS
            continue
        if loss == "sigmoid":
            losses[r] = sigmoid_row(p[0] + r * n, p[1] + r * n, scale, n)
        else:
            losses[r] = squared_error_row(p[0] + r * n, p[1] + r * n, scale, n)
        r += 1
