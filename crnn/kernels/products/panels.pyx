# How a weight W (inputs, outputs) lies where products read it: in panels, four vector registers
# wide (or two), each of which lies in memory in the order of its inputs:
#
#     panel 0 (inputs, width)   panel 1 (inputs, width)   ...   last panel (inputs, what is left)
#
# The last panel is filled up with zeros to whole vectors; rather than leave a single vector to a
# panel of its own, it has one more than the others. Weights of fewer bits lie in panels of lines of
# 16 columns: as many as their tiles have, and what is left in panels of one.

from libc.string cimport memset

cdef enum:
    LINE_COLUMNS = 16


cdef inline inlined_void copy(real *y, const real *x, Py_ssize_t n) noexcept nogil:
    # y (n,) = x
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = x[j]


cdef inline void copy_rows(
    real *to, Py_ssize_t to_row, const real *rows, Py_ssize_t row, Py_ssize_t n, Py_ssize_t columns
) noexcept nogil:
    # to[:n, :columns] = rows[:n, :columns]; a call of memcpy a row would take longer
    cdef Py_ssize_t r, i, j
    for r in range(n):
        for i in range(columns // COPIED):
            for j in range(COPIED):
                to[r * to_row + i * COPIED + j] = rows[r * row + i * COPIED + j]
        for j in range(columns - columns % COPIED, columns):
            to[r * to_row + j] = rows[r * row + j]


cdef inline void gather_rows(
    real *to, Py_ssize_t to_row, const real *rows, Py_ssize_t row, const Py_ssize_t *which,
    Py_ssize_t n, Py_ssize_t columns
) noexcept nogil:
    # to[:n, :columns] = rows[which[:n], :columns], where which goes up: mostly they are all rows
    cdef Py_ssize_t r
    if n > 0 and which[n - 1] == n - 1:
        copy_rows(to, to_row, rows, row, n, columns)
        return
    for r in range(n):
        copy_rows(to + r * to_row, to_row, rows + which[r] * row, row, 1, columns)


cdef inline Py_ssize_t panel_width(Py_ssize_t columns) noexcept nogil:
    # of the first of the panels that hold so many columns
    if columns > FULL_WIDTH + VECTOR:
        return FULL_WIDTH
    return (columns + VECTOR - 1) & -VECTOR     # a vector's numbers are a power of two


cdef inline Py_ssize_t panel_count(Py_ssize_t columns) noexcept nogil:
    # all but the last have the full width
    return max(1, (columns - VECTOR + FULL_WIDTH - 1) // FULL_WIDTH)


cdef inline Py_ssize_t line_panel_count(Py_ssize_t columns, Py_ssize_t most) noexcept nogil:
    # of panels of so many lines, and of one
    cdef Py_ssize_t lines = (columns + LINE_COLUMNS - 1) // LINE_COLUMNS
    return lines // most + lines % most


cdef inline Py_ssize_t line_panel_start(
    Py_ssize_t k, Py_ssize_t columns, Py_ssize_t most
) noexcept nogil:
    # the first column of the panel k of these
    cdef Py_ssize_t whole = (columns + LINE_COLUMNS - 1) // (most * LINE_COLUMNS)
    return (min(k, whole) * most + max(0, k - whole)) * LINE_COLUMNS


cdef inline Py_ssize_t lines_of(Py_ssize_t columns, Py_ssize_t most) noexcept nogil:
    # how many the first of the panels has that hold so many columns
    return most if columns > (most - 1) * LINE_COLUMNS else 1


cdef inline void pack_panel(
    real *packed, const real *W, Py_ssize_t W_row, Py_ssize_t W_column,
    Py_ssize_t inputs, Py_ssize_t columns, Py_ssize_t width,
) noexcept nogil:
    # packed (inputs, width) = W (inputs, columns), then zeros; W[i, j] lies at
    # W[i * W_row + j * W_column]
    cdef Py_ssize_t i, j, stop, start = 0
    for i in range(inputs):
        memset(packed + i * width + columns, 0, (width - columns) * sizeof(real))
    if W_column == 1:
        copy_rows(packed, width, W, W_row, inputs, columns)
        return
    while start < inputs:
        stop = min(start + PACKED_ROWS, inputs)
        for j in range(columns):
            for i in range(start, stop):
                packed[i * width + j] = W[i * W_row + j * W_column]
        start = stop


cdef inline void gather_panel(
    real *packed, const real *rows, Py_ssize_t row, const Py_ssize_t *which, Py_ssize_t n,
    Py_ssize_t columns, Py_ssize_t width,
) noexcept nogil:
    # packed (n, width) = rows[which[:n], :columns], then zeros
    cdef Py_ssize_t r
    for r in range(n):
        memset(packed + r * width + columns, 0, (width - columns) * sizeof(real))
    gather_rows(packed, width, rows, row, which, n, columns)


cdef void pack_panels(
    real *packed, const real *W, Py_ssize_t W_row, Py_ssize_t W_column,
    Py_ssize_t inputs, Py_ssize_t outputs,
) noexcept nogil:
    # packed = W (inputs, outputs) in panels
    cdef Py_ssize_t j = 0, width
    while j < outputs:
        width = panel_width(outputs - j)
        pack_panel(packed + j * inputs, W + j * W_column, W_row, W_column, inputs,
                   min(width, outputs - j), width)
        j += width
