# Updates of the parameter vector w from the gradient g, each in one pass over memory: w, g and the
# optimizer's slots, all (n,), are loaded once and stored once, with nothing in between. A slot that
# a formula does without is NULL. Numbers that are the same for all of w are worked out in double.
# An update counts itself in steps, (1,), where there is one: Python code would count it before or
# after, with room for an interrupt between.

from libc.math cimport sqrt, sqrtf


cdef inline real square_root(real x) noexcept nogil:
    return <real> sqrtf(<float> x) if REAL_IS_FLOAT else <real> sqrt(x)


cdef inline void sgd(
    real *w, real *m, const real *g, real lr, real momentum, bint nesterov, real weight_decay,
    Py_ssize_t n,
) noexcept nogil:
    # u = g + weight_decay * w; m = momentum * m + u; w -= lr * (u + momentum * m, or m)
    cdef Py_ssize_t j
    cdef real u
    for j in range(n):
        u = g[j] + weight_decay * w[j]
        if m != NULL:
            m[j] = momentum * m[j] + u
            u = u + momentum * m[j] if nesterov else m[j]
        w[j] = w[j] - lr * u


cdef inline void adagrad(
    real *w, real *s, const real *g, real rate, real eps, real weight_decay, Py_ssize_t n
) noexcept nogil:
    # u = g + weight_decay * w; s += u**2; w -= rate * u / (sqrt(s) + eps)
    cdef Py_ssize_t j
    cdef real u
    for j in range(n):
        u = g[j] + weight_decay * w[j]
        s[j] = s[j] + u * u
        w[j] = w[j] - rate * (u / (square_root(s[j]) + eps))


cdef inline void rmsprop(
    real *w, real *v, real *a, real *m, const real *g, real lr, real alpha, real rest, real eps,
    real weight_decay, real momentum, Py_ssize_t n,
) noexcept nogil:
    # u = g + weight_decay * w; v = alpha * v + rest * u**2; a += rest * (u - a);
    # u /= sqrt(v - a**2) + eps; m = momentum * m + u; w -= lr * m
    cdef Py_ssize_t j
    cdef real u, square
    for j in range(n):
        u = g[j] + weight_decay * w[j]
        square = v[j] = multiply_add(alpha, v[j], rest * (u * u))
        if a != NULL:
            a[j] = a[j] + rest * (u - a[j])
            square = square - a[j] * a[j]
        u = u / (square_root(square) + eps)
        if m != NULL:
            u = m[j] = momentum * m[j] + u
        w[j] = w[j] - lr * u


cdef inline void adam(
    real *w, real *m, real *v, const real *g, real rate, real beta1, real rest1, real beta2,
    real rest2, real correction, real eps, real weight_decay, real keep, Py_ssize_t n,
) noexcept nogil:
    # u = g + weight_decay * w; m = beta1 * m + rest1 * u; v = beta2 * v + rest2 * u**2;
    # w = keep * w - rate * m / (sqrt(v) * correction + eps)
    cdef Py_ssize_t j
    cdef real u
    for j in range(n):
        u = g[j] + weight_decay * w[j]
        m[j] = multiply_add(beta1, m[j], rest1 * u)
        v[j] = multiply_add(beta2, v[j], rest2 * (u * u))
        u = m[j] / (square_root(v[j]) * correction + eps)
        w[j] = multiply_add(-rate, u, keep * w[j])


cdef inline void add_squares(double *sums, const real *x, Py_ssize_t n) noexcept nogil:
    # sums (n,) += x**2
    cdef Py_ssize_t j
    for j in range(n):
        sums[j] = sums[j] + <double> x[j] * x[j]


cdef inline double squared_sum(const real *x, Py_ssize_t n) noexcept nogil:
    # np.sum(x**2), in an order that does not depend on the width of vectors
    cdef double sums[PARTIAL_SUMS]
    cdef Py_ssize_t j, width = PARTIAL_SUMS
    memset(sums, 0, sizeof(sums))
    for j in range(n // PARTIAL_SUMS):
        add_squares(sums, x + j * PARTIAL_SUMS, PARTIAL_SUMS)
    add_squares(sums, x + n - n % PARTIAL_SUMS, n % PARTIAL_SUMS)
    while width > 1:
        width //= 2
        for j in range(width):
            sums[j] = sums[j] + sums[j + width]
    return sums[0]


cdef Py_ssize_t vectors(real **to, tuple arrays) except -1:
    # where w (n,) begins, its slots (n,) or None, and g (n,), the last; returns n. Memoryviews do
    # so, too, but are most of an update's code, and of its time for small networks.
    cdef Py_ssize_t i, last = len(arrays) - 1
    cdef Py_ssize_t n = cnp.PyArray_SIZE(<cnp.ndarray?> arrays[last])
    all_numbers(to, arrays)
    if to[0] == NULL:
        raise TypeError("w is None")
    for i in range(last):
        if to[i] != NULL and cnp.PyArray_SIZE(<cnp.ndarray> arrays[i]) != n:
            raise ValueError("vectors of one length are wanted")
        if to[i] != NULL and not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> arrays[i]):
            raise ValueError("w and its slots are written to, and one of them is read-only")
    return n


cdef cnp.int64_t *counter(steps) except? NULL:
    # where an update counts itself; NULL of None
    if steps is None:
        return NULL
    if not (is_ready(steps, cnp.NPY_INT64) and cnp.PyArray_SIZE(<cnp.ndarray> steps) == 1
            and cnp.PyArray_ISWRITEABLE(<cnp.ndarray> steps)):
        raise TypeError("steps is to be an array of one int64 that can be written to")
    return <cnp.int64_t *> cnp.PyArray_DATA(<cnp.ndarray> steps)


cdef inline void count(cnp.int64_t *steps) noexcept nogil:
    if steps != NULL:
        steps[0] = steps[0] + 1


def sgd_update(
    w, m, g, double lr, double momentum, bint nesterov, double weight_decay, steps=None
):
    cdef real *to[3]
    cdef Py_ssize_t n = vectors(to, (w, m, g))
    cdef cnp.int64_t *counted = counter(steps)
    with nogil:
        sgd(to[0], to[1], to[2], <real> lr, <real> momentum, nesterov, <real> weight_decay, n)
        count(counted)


def adagrad_update(w, s, g, double rate, double eps, double weight_decay, steps=None):
    cdef real *to[3]
    cdef Py_ssize_t n = vectors(to, (w, s, g))
    cdef cnp.int64_t *counted = counter(steps)
    with nogil:
        adagrad(to[0], to[1], to[2], <real> rate, <real> eps, <real> weight_decay, n)
        count(counted)


def rmsprop_update(
    w, v, a, m, g, double lr, double alpha, double eps, double weight_decay, double momentum,
    steps=None,
):
    cdef real *to[5]
    cdef Py_ssize_t n = vectors(to, (w, v, a, m, g))
    cdef cnp.int64_t *counted = counter(steps)
    with nogil:
        rmsprop(to[0], to[1], to[2], to[3], to[4], <real> lr, <real> alpha, <real> (1 - alpha),
                <real> eps, <real> weight_decay, <real> momentum, n)
        count(counted)


def adam_update(
    w, m, v, g, double lr, double beta1, double beta2, double correction1, double correction2,
    double eps, double weight_decay, double keep, steps=None,
):
    cdef real *to[4]
    cdef Py_ssize_t n = vectors(to, (w, m, v, g))
    cdef cnp.int64_t *counted = counter(steps)
    with nogil:
        adam(to[0], to[1], to[2], to[3], <real> (lr / correction1), <real> beta1,
             <real> (1 - beta1), <real> beta2, <real> (1 - beta2), <real> (1 / sqrt(correction2)),
             <real> eps, <real> weight_decay, <real> keep, n)
        count(counted)


def norm(x):
    cdef real *to[1]
    cdef Py_ssize_t n = vectors(to, (x,))
    cdef double total
    with nogil:
        total = squared_sum(to[0], n)
    return sqrt(total)


def is_finite(x):
    cdef real *to[1]
    cdef Py_ssize_t j, n = vectors(to, (x,)), others = 0
    with nogil:
        for j in range(n):
            others += to[0][j] - to[0][j] != 0      # infinity - infinity is NaN, and NaN is not 0
    return others == 0
