# Functions of a row of numbers that belong together: its largest one, its sum, its softmax and the
# way back. A sum of them is made of LOSS_LANES partial ones, so that every build has the same bits.

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


cdef inline void softmax_row(real *y, Py_ssize_t n) noexcept nogil:
    # y (n,) = exp(y) / exp(y).sum(), without overflow
    cdef Py_ssize_t j
    cdef real factor, largest = largest_of(y, n)
    for j in range(n):
        y[j] = exp_below_1(y[j] - largest)
    factor = <real> (1 / sum_of(y, n))
    for j in range(n):
        y[j] = y[j] * factor


cdef inline void softmax_row_backward(real *d, const real *y, Py_ssize_t n) noexcept nogil:
    # d (n,) = y * (d - (d * y).sum()), the gradient of what y is the softmax of
    cdef Py_ssize_t j
    cdef double total = 0
    for j in range(n):
        total = multiply_add_double(d[j], y[j], total)
    for j in range(n):
        d[j] = y[j] * (d[j] - <real> total)
