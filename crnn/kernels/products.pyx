# Products with packed weights (panels.pyx), y += x @ W. A panel's sums stay in registers while x
# and the panel pass by: four rows of y at a time (add_tile), or a single one (sums_row). The loops
# over columns run along memory and vectorise without reordering any sum: each number of y gets the
# sum over the inputs in their order. Of a small W it gets the sum over the first half of them, that
# over the second half and, of an odd number, the last: such a W is in the fastest cache, and a
# single row needs more sums that do not wait for each other. Of a larger one, two places to read
# from at a time would slow reading down. So any split of rows or columns gives the same bits.

cdef enum Reach:            # of a W: it stays in the fastest cache, or not; FAR is in neither the
    NEAR, MIDDLE, FAR       # first nor the second, of a processor that gains by being asked early

cdef enum:
    TILE_ROWS = 4
    NEAR_BYTES = 32768
    FAR_BYTES = 3 << 19     # more than the second cache holds
    AHEAD_BYTES = 3072      # from what is read of a far W to what is asked for
    LINE_BYTES = 64         # of the caches

cdef bint asks_early = gains_by_asking()


cdef inline inlined_void add_scaled(real *y, real x, const real *W, Py_ssize_t n) noexcept nogil:
    # y (n,) += x * W (n,)
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = multiply_add(x, W[j], y[j])


cdef inline inlined_void ask_for(const real *numbers, Py_ssize_t n) noexcept nogil:
    # has the lines of numbers (n,) brought into the fastest cache. Not inlined, it would be taken
    # for a function without effect, and left out.
    cdef Py_ssize_t line, size = n * <Py_ssize_t> sizeof(real)
    for line in range((size + LINE_BYTES - 1) // LINE_BYTES):
        PREFETCH(<const char *> numbers + line * LINE_BYTES)


cdef inline inlined_void add_sums(
    real *y, const real *first, const real *second, Py_ssize_t width, bint both
) noexcept nogil:
    # y (width,) += first, then second if there are both
    cdef Py_ssize_t j
    for j in range(width):
        y[j] = y[j] + first[j] + second[j] if both else y[j] + first[j]


cdef inline inlined_void add_tile(
    real *y, Py_ssize_t y_row, const real *x, Py_ssize_t x_row, Py_ssize_t x_step, const real *W,
    Py_ssize_t inputs, Py_ssize_t rows, Py_ssize_t width, bint both,
) noexcept nogil:
    # y[:rows, :width] += x[:rows] @ W (inputs, width), of 1 to 4 rows, of which the last is
    # repeated; with both, inputs and W go on for as many again, in sums of their own
    cdef Py_ssize_t j, i = 0, x_half = inputs * x_step
    cdef const real *x1 = x + min(1, rows - 1) * x_row
    cdef const real *x2 = x + min(2, rows - 1) * x_row
    cdef const real *x3 = x + min(3, rows - 1) * x_row
    cdef const real *W_half = W + inputs * width
    cdef real s0[WIDEST]
    cdef real s1[WIDEST]
    cdef real s2[WIDEST]
    cdef real s3[WIDEST]
    cdef real t0[WIDEST]
    cdef real t1[WIDEST]
    cdef real t2[WIDEST]
    cdef real t3[WIDEST]
    for j in range(width):
        s0[j] = s1[j] = s2[j] = s3[j] = t0[j] = t1[j] = t2[j] = t3[j] = 0
    while True:             # at least one input, or the sums would go through memory
        add_scaled(s0, x[i * x_step], W + i * width, width)
        add_scaled(s1, x1[i * x_step], W + i * width, width)
        add_scaled(s2, x2[i * x_step], W + i * width, width)
        add_scaled(s3, x3[i * x_step], W + i * width, width)
        if both:
            add_scaled(t0, x[x_half + i * x_step], W_half + i * width, width)
            add_scaled(t1, x1[x_half + i * x_step], W_half + i * width, width)
            add_scaled(t2, x2[x_half + i * x_step], W_half + i * width, width)
            add_scaled(t3, x3[x_half + i * x_step], W_half + i * width, width)
        i += 1
        if i == inputs:
            break
    add_sums(y, s0, t0, width, both)
    if rows > 1:
        add_sums(y + y_row, s1, t1, width, both)
    if rows > 2:
        add_sums(y + 2 * y_row, s2, t2, width, both)
    if rows > 3:
        add_sums(y + 3 * y_row, s3, t3, width, both)


cdef inline inlined_void add_tiles(
    real *y, Py_ssize_t y_row, const real *x, Py_ssize_t x_row, Py_ssize_t x_step, const real *W,
    Py_ssize_t inputs, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t width, bint both,
) noexcept nogil:
    # y (rows, columns) += x (rows, inputs) @ W (inputs, width), tile after tile. Where a panel has
    # less columns than its width, tiles are worked on in memory that is wide enough.
    cdef Py_ssize_t n, r = 0
    cdef real edge[TILE_ROWS * WIDEST]
    if columns < width:
        memset(edge, 0, sizeof(edge))
    while r < rows:
        n = min(TILE_ROWS, rows - r)
        if columns < width:
            copy_rows(edge, width, y + r * y_row, y_row, n, columns)
        add_tile(&edge[0] if columns < width else y + r * y_row,
                 width if columns < width else y_row,
                 x + r * x_row, x_row, x_step, W, inputs, n, width, both)
        if columns < width:
            copy_rows(y + r * y_row, y_row, edge, width, n, columns)
        r += TILE_ROWS


cdef inline inlined_void add_halves(
    real *y, Py_ssize_t y_row, const real *x, Py_ssize_t x_row, Py_ssize_t x_step, const real *W,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t columns, Py_ssize_t width,
) noexcept nogil:
    # y (rows, columns) += x (rows, inputs) @ W (inputs, width), of a small W
    cdef Py_ssize_t r, half = inputs // 2, last = inputs - 1
    if half and width * <Py_ssize_t> sizeof(real) <= SIDE_BY_SIDE_BYTES:
        add_tiles(y, y_row, x, x_row, x_step, W, half, rows, columns, width, True)
    elif half:
        add_tiles(y, y_row, x, x_row, x_step, W, half, rows, columns, width, False)
        add_tiles(y, y_row, x + half * x_step, x_row, x_step, W + half * width, half, rows,
                  columns, width, False)
    if inputs % 2:
        for r in range(rows):
            add_scaled(y + r * y_row, x[r * x_row + last * x_step], W + last * width, columns)


cdef inline inlined_void add_panel(
    real *y, Py_ssize_t y_row, const real *x, Py_ssize_t x_row, Py_ssize_t x_step, const real *W,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t columns, Py_ssize_t width, bint halved,
) noexcept nogil:
    # y (rows, columns) += x (rows, inputs) @ W (inputs, width)
    if halved:
        add_halves(y, y_row, x, x_row, x_step, W, rows, inputs, columns, width)
    else:
        add_tiles(y, y_row, x, x_row, x_step, W, inputs, rows, columns, width, False)


cdef void add_any_panel(
    real *y, Py_ssize_t y_row, const real *x, Py_ssize_t x_row, Py_ssize_t x_step, const real *W,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t columns, bint halved,
) noexcept nogil:
    # add_panel with a width that is known where it is compiled
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), width = panel_width(W, columns)
    columns = min(columns, width)
    if width == lanes:
        add_panel(y, y_row, x, x_row, x_step, W, rows, inputs, columns, lanes, halved)
    elif width == 2 * lanes:
        add_panel(y, y_row, x, x_row, x_step, W, rows, inputs, columns, 2 * lanes, halved)
    elif width == 3 * lanes:
        add_panel(y, y_row, x, x_row, x_step, W, rows, inputs, columns, 3 * lanes, halved)
    elif PANEL_VECTORS > 2 and width == 4 * lanes:
        add_panel(y, y_row, x, x_row, x_step, W, rows, inputs, columns, 4 * lanes, halved)
    elif PANEL_VECTORS > 2:
        add_panel(y, y_row, x, x_row, x_step, W, rows, inputs, columns, 5 * lanes, halved)


cdef inline inlined_void sums_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t width, bint both, bint far,
) noexcept nogil:
    # y (width,) = start + x (inputs,) @ W (inputs, width); see add_tile
    cdef Py_ssize_t j, i = 0
    cdef const real *x_half = x + inputs
    cdef const real *W_half = W + inputs * width
    cdef real total[WIDEST]
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
    for j in range(width):
        total[j] = start[j]
    add_sums(total, s, t, width, both)
    for j in range(width):
        y[j] = total[j]


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
    # y (width,) = start + x (inputs,) @ W (inputs, width), with the sums of add_panel
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


cdef inline Reach reach_of(const real *W, Py_ssize_t numbers) noexcept nogil:
    cdef Py_ssize_t size = numbers * <Py_ssize_t> sizeof(real)
    return NEAR if size <= NEAR_BYTES else FAR if asks_early and size > FAR_BYTES else MIDDLE


cdef void panels_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t outputs, bint from_last,
) noexcept nogil:
    cdef Py_ssize_t full = PANEL_VECTORS * VECTOR_BYTES // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t k, j, panels = panel_count(W, outputs)
    cdef Reach reach = reach_of(W, inputs * outputs)
    for k in range(panels):
        j = (panels - 1 - k if from_last else k) * full
        any_panel_row(y + j, start + j, x, W + j * inputs, inputs, outputs - j, reach)


cdef inline void product_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t outputs, bint from_last,
) noexcept nogil:
    # y (outputs,) = start + x (inputs,) @ packed W (inputs, outputs); see add_product. A small step
    # spends most of its time on getting to its few panels.
    cdef Py_ssize_t full = PANEL_VECTORS * VECTOR_BYTES // <Py_ssize_t> sizeof(real)
    if outputs <= full:
        any_panel_row(y, start, x, W, inputs, outputs, reach_of(W, inputs * outputs))
    else:
        panels_row(y, start, x, W, inputs, outputs, from_last)


cdef void add_tiled_product(
    real *y, Py_ssize_t y_row, const real *x, Py_ssize_t x_row, const real *W,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs, bint from_last,
) noexcept nogil:
    cdef Py_ssize_t full = PANEL_VECTORS * VECTOR_BYTES // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t k, j, panels = panel_count(W, outputs)
    cdef Py_ssize_t last = rows - 1, tiled = rows - (rows % TILE_ROWS == 1)
    cdef Reach reach = reach_of(W, inputs * outputs)
    for k in range(panels):
        j = (panels - 1 - k if from_last else k) * full
        add_any_panel(y + j, y_row, x, x_row, 1, W + j * inputs, tiled, inputs, outputs - j,
                      reach == NEAR)
        if tiled < rows:
            any_panel_row(y + last * y_row + j, y + last * y_row + j, x + last * x_row,
                          W + j * inputs, inputs, outputs - j, reach)


cdef inline void add_product(
    real *y, Py_ssize_t y_row, const real *x, Py_ssize_t x_row, const real *W,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs, bint from_last,
) noexcept nogil:
    # y (rows, outputs) += x (rows, inputs) @ packed W (inputs, outputs); rows lie y_row and x_row
    # numbers apart. Panels are taken from the first to the last or, with from_last, the other way.
    if rows == 1:
        product_row(y, y, x, W, inputs, outputs, from_last)
    else:
        add_tiled_product(y, y_row, x, x_row, W, rows, inputs, outputs, from_last)
