# Losses over rows of outputs: each leaves the loss of every row in `losses`, in double, and in y
# the gradient times `scale`, so that outputs and their gradients share one memory. A row without a
# target has no loss and no gradient. Arrays are (T, B, n) and (T, B).

from libc.math cimport copysign, exp, fabs, log

cdef enum:
    FILLING = -1000         # an output whose sigmoid loss is 0 where its target is


cdef inline double no_loss(real *y, Py_ssize_t n) noexcept nogil:
    # of a row without a target: 0; y (n,) = 0
    memset(y, 0, n * sizeof(real))
    return 0


cdef inline void softmax_rows(
    real *y, double *losses, const Py_ssize_t *targets, const double *weights, double scale,
    Py_ssize_t rows, Py_ssize_t n
) noexcept nogil:
    # losses (rows,) = weight * -log softmax(y)[target],
    # y (rows, n) = scale * weight * (softmax(y) - one_hot(target))
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
        factor = <real> (scale * weights[r] / total[r])
        for j in range(n):
            y[r * n + j] = y[r * n + j] * factor
    for r in range(rows):
        if targets[r] < 0:
            losses[r] = no_loss(y + r * n, n)
        else:
            losses[r] = weights[r] * (log(total[r]) + losses[r])
            y[r * n + targets[r]] = y[r * n + targets[r]] - <real> (scale * weights[r])


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


cdef inline double sign(double a) noexcept nogil:
    # 1, -1, or a itself where it is 0 or NaN
    return 1 if a > 0 else (-1 if a < 0 else a)


cdef inline double absolute_error_row(
    real *y, const real *targets, double scale, Py_ssize_t n
) noexcept nogil:
    # sum of abs(y - target); y (n,) = scale * sign(y - target)
    cdef Py_ssize_t j
    cdef double error, total = 0
    for j in range(n):
        error = <double> y[j] - targets[j]
        total = total + fabs(error)
        y[j] = <real> (scale * sign(error))
    return total


cdef inline double huber_row(
    real *y, const real *targets, double delta, double scale, Py_ssize_t n
) noexcept nogil:
    # sum of error**2 / 2, or where abs(error) > delta of delta * (abs(error) - delta / 2);
    # y (n,) = scale * error, or scale * delta * sign(error)
    cdef Py_ssize_t j
    cdef double error, total = 0
    for j in range(n):
        error = <double> y[j] - targets[j]
        if fabs(error) > delta:
            total = total + delta * (fabs(error) - delta / 2)
            error = copysign(delta, error)
        else:
            total = total + error * error / 2
        y[j] = <real> (scale * error)
    return total


cdef inline double quantile_row(
    real *y, const real *targets, double level, double scale, Py_ssize_t n
) noexcept nogil:
    # sum of slope * error, where error = target - y and slope is level above y, level - 1 below;
    # y (n,) = scale * -slope
    cdef Py_ssize_t j
    cdef double error, slope, total = 0
    for j in range(n):
        error = <double> targets[j] - y[j]
        slope = level if error > 0 else (1 - level) * sign(error)
        total = total + slope * error
        y[j] = <real> (scale * -slope)
    return total


cdef inline double gaussian_row(
    real *y, real *log_variance, const real *targets, double scale, Py_ssize_t n
) noexcept nogil:
    # sum of (log_variance + z**2) / 2, where z = (y - target) / exp(log_variance / 2);
    # y (n,) = scale * z / exp(log_variance / 2), log_variance (n,) = scale * (1 - z**2) / 2
    cdef Py_ssize_t j
    cdef double inverse, z, total = 0
    for j in range(n):
        inverse = exp(-<double> log_variance[j] / 2)
        z = (<double> y[j] - targets[j]) * inverse
        total = total + (log_variance[j] + z * z) / 2
        y[j] = <real> (scale * z * inverse)
        log_variance[j] = <real> (scale * (1 - z * z) / 2)
    return total


# --- which loss ----------------------------------------------------------------------------------

cdef enum LossKind:
    SOFTMAX, SIGMOID, MSE, MAE, HUBER, QUANTILE, GAUSSIAN

LOSSES = {
    "softmax": SOFTMAX, "sigmoid": SIGMOID, "mse": MSE, "mae": MAE, "huber": HUBER,
    "quantile": QUANTILE, "gaussian": GAUSSIAN,
}

cdef struct Loss:
    LossKind kind
    double scale                # of gradients
    const double *numbers       # delta of huber, the levels of quantile
    Py_ssize_t blocks           # how many outputs say something of each target
    Py_ssize_t n                # targets of a row; its blocks * n outputs are blocks, side by side


cdef double loss_of_targets(
    const Loss *loss, real *y, const real *targets, double weight, Py_ssize_t n
) noexcept nogil:
    # the loss of n of a row's targets, whose weight is not 0; y becomes its gradient
    cdef Py_ssize_t k
    cdef double scale = loss.scale * weight, total = 0
    if loss.kind == SIGMOID:
        total = sigmoid_row(y, targets, scale, n)
    elif loss.kind == MSE:
        total = squared_error_row(y, targets, scale, n)
    elif loss.kind == MAE:
        total = absolute_error_row(y, targets, scale, n)
    elif loss.kind == HUBER:
        total = huber_row(y, targets, loss.numbers[0], scale, n)
    elif loss.kind == GAUSSIAN:
        total = gaussian_row(y, y + loss.n, targets, scale, n)
    else:
        for k in range(loss.blocks):
            total = total + quantile_row(y + k * loss.n, targets, loss.numbers[k], scale, n)
    return weight * total


cdef double weighted_row(
    const Loss *loss, real *y, const real *targets, const double *weights
) noexcept nogil:
    # the loss of a row with a weight (n,) for each target, run after run of equal ones
    cdef Py_ssize_t k, first = 0, last
    cdef double total = 0
    while first < loss.n:
        last = first + 1
        while last < loss.n and weights[last] == weights[first]:
            last = last + 1
        if weights[first] != 0:
            total = total + loss_of_targets(
                loss, y + first, targets + first, weights[first], last - first)
        else:
            for k in range(loss.blocks):
                no_loss(y + k * loss.n + first, last - first)
        first = last
    return total


def row_losses(str loss, tuple arrays, classes, double[::1] losses not None, weights, numbers,
               double scale):
    # for tests: of arrays (y,), which becomes the gradient, and classes (rows,), or of
    # (y (rows, O), targets (rows, n)), with weights (rows,) or (rows, n)
    cdef real *p[2]
    cdef Py_ssize_t r = 0, rows = losses.shape[0], outputs = arrays[0].shape[1]
    cdef const double[::1] parameters = numbers
    cdef const double[:, ::1] w = weights
    cdef Loss of
    all_numbers(p, arrays)
    of.kind, of.scale, of.numbers, of.n = LOSSES[loss], scale, &parameters[0], outputs
    if classes is None:
        of.n = arrays[1].shape[1]
    of.blocks = outputs // max(1, of.n)
    while r < rows:
        if of.kind == SOFTMAX:
            softmax_rows(p[0] + r * outputs, &losses[r], indices(classes) + r, &w[r, 0], scale,
                         min(SOFTMAX_ROWS, rows - r), outputs)
            r += SOFTMAX_ROWS
        else:
            losses[r] = weighted_row(&of, p[0] + r * outputs, p[1] + r * of.n, &w[r, 0])
            r += 1
