# Products of single rows with packed weights: those of steps, and of sequences without a batch.

cdef inline inlined_void sums_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t width, bint both, bint far,
) noexcept nogil:
    # y (width,) = start + x (inputs,) @ W (inputs, width); see tile
    cdef Py_ssize_t j, i = 0
    cdef const real *x_half = x + inputs
    cdef const real *W_half = W + inputs * width
    cdef real s[WIDEST]
    cdef real t[WIDEST]
    for j in range(width):
        s[j] = t[j] = 0
    while True:
        if far:
            ask_for(W + i * width + AHEAD_BYTES // <Py_ssize_t> sizeof(real), width)
        add_scaled(s, x[i], W + i * width, width)
        if both:
            add_scaled(t, x_half[i], W_half + i * width, width)
        i += 1
        if i == inputs:
            break
    end_row(y, start, s, t, width, both)


cdef inline inlined_void scaled_row(
    real *y, const real *start, real x, const real *W, Py_ssize_t n
) noexcept nogil:
    # y (n,) = start + x * W (n,)
    cdef Py_ssize_t j
    cdef real total[WIDEST]
    for j in range(n):
        total[j] = multiply_add(x, W[j], start[j])
    for j in range(n):
        y[j] = total[j]


cdef inline inlined_void panel_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t width, Reach reach,
) noexcept nogil:
    # y (width,) = start + x (inputs,) @ W (inputs, width), with the sums of product_panel
    cdef Py_ssize_t half = inputs // 2
    if reach == NEAR:
        if half:
            sums_row(y, start, x, W, half, width, True, False)
            start = y
        if inputs % 2:
            scaled_row(y, start, x[inputs - 1], W + (inputs - 1) * width, width)
    elif reach == MIDDLE:
        sums_row(y, start, x, W, inputs, width, False, False)
    else:
        sums_row(y, start, x, W, inputs, width, False, True)


cdef outlined_void edge_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t columns, Py_ssize_t width, Reach reach,
) noexcept nogil:
    # a panel's product where y and start have less columns than it
    cdef real edge[WIDEST]
    memset(edge, 0, sizeof(edge))
    copy_rows(edge, width, start, width, 1, columns)
    any_panel_row(<real *> edge, <real *> edge, x, W, inputs, width, reach)
    copy_rows(y, width, edge, width, 1, columns)


cdef void any_panel_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t columns, Reach reach,
) noexcept nogil:
    # panel_row of the first panel with a width that is known where it is compiled
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), width = panel_width(W, columns)
    if columns < width:
        edge_row(y, start, x, W, inputs, columns, width, reach)
    elif width == lanes:
        panel_row(y, start, x, W, inputs, lanes, reach)
    elif width == 2 * lanes:
        panel_row(y, start, x, W, inputs, 2 * lanes, reach)
    elif width == 3 * lanes:
        panel_row(y, start, x, W, inputs, 3 * lanes, reach)
    elif PANEL_VECTORS > 2 and width == 4 * lanes:
        panel_row(y, start, x, W, inputs, 4 * lanes, reach)
    elif PANEL_VECTORS > 2:
        panel_row(y, start, x, W, inputs, 5 * lanes, reach)


cdef void panels_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t outputs, bint from_last,
) noexcept nogil:
    cdef Py_ssize_t full = full_width(W)
    cdef Py_ssize_t k, j, panels = panel_count(W, outputs)
    cdef Reach reach = reach_of(W, inputs * outputs)
    for k in range(panels):
        j = (panels - 1 - k if from_last else k) * full
        any_panel_row(y + j, start + j, x, W + j * inputs, inputs, outputs - j, reach)


cdef inline void product_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t outputs, bint from_last,
) noexcept nogil:
    # y (outputs,) = start + x (inputs,) @ packed W (inputs, outputs); see product. A small step
    # spends most of its time on getting to its few panels.
    cdef Py_ssize_t full = full_width(W)
    if outputs <= full:
        any_panel_row(y, start, x, W, inputs, outputs, reach_of(W, inputs * outputs))
    else:
        panels_row(y, start, x, W, inputs, outputs, from_last)
