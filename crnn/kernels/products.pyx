# Products with packed weights (panels.pyx), y = start + x @ W. A panel's sums stay in registers
# while x and the panel pass by: four rows of y at a time (tile), or a single one (sums_row
# in row_products.pyx). The loops over columns run along memory and vectorise without reordering any
# sum: each number of y gets the sum over the inputs in their order. Of a small W it gets the sum
# over the first half of them, that over the second half and, of an odd number, the last: such a W
# is in the fastest cache, and a single row needs more sums that do not wait for each other. Of a
# larger one, two places to read from at a time would slow reading down. So any split of rows or
# columns gives the same bits.

cdef enum Reach:            # of a W: it stays in the fastest cache, or not; FAR is in neither the
    NEAR, MIDDLE, FAR       # first nor the second, of a processor that gains by being asked early

cdef enum:
    TILE_ROWS = 4
    NEAR_BYTES = 32768
    LARGE_BYTES = 3 << 19   # more than the second cache holds
    AHEAD_BYTES = 3072      # from what is read of a far W to what is asked for
    LINE_BYTES = 64         # of the caches


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


cdef inline bint is_large(const real *W, Py_ssize_t numbers) noexcept nogil:
    # whether so many numbers are more than the second cache holds
    return numbers * <Py_ssize_t> sizeof(real) > LARGE_BYTES


cdef inline Reach reach_of(const real *W, Py_ssize_t numbers) noexcept nogil:
    if numbers * <Py_ssize_t> sizeof(real) <= NEAR_BYTES:
        return NEAR
    return FAR if asks_early and is_large(W, numbers) else MIDDLE


cdef inline inlined_void add_sums(
    real *y, const real *first, const real *second, Py_ssize_t width, bint both
) noexcept nogil:
    # y (width,) += first, then second if there are both
    cdef Py_ssize_t j
    for j in range(width):
        y[j] = y[j] + first[j] + second[j] if both else y[j] + first[j]


cdef inline inlined_void end_row(
    real *y, const real *start, const real *first, const real *second, Py_ssize_t width, bint both
) noexcept nogil:
    # y (width,) = start + first, then second if there are both. Added to y at once, each number
    # would have gcc ask whether y and start overlap.
    cdef real total[WIDEST]
    copy(total, start, width)
    add_sums(total, first, second, width, both)
    copy(y, total, width)


cdef inline inlined_void tile(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, Py_ssize_t x_step, const real *W, Py_ssize_t inputs, Py_ssize_t rows,
    Py_ssize_t width, bint both, real *sums, bint ends, const real *next_W, Py_ssize_t next_step,
) noexcept nogil:
    # y[:rows, :width] = start + x[:rows] @ W (inputs, width), of 1 to 4 rows, of which the last is
    # repeated. With both, inputs and W go on for as many again, in sums of their own. With sums
    # (4, width), those of the inputs before these go on, and wait there for more unless it ends.
    # With next_W, what is there, next_step numbers further with every input, is asked for.
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
    if sums != NULL:
        copy(s0, sums, width)
        copy(s1, sums + width, width)
        copy(s2, sums + 2 * width, width)
        copy(s3, sums + 3 * width, width)
    while True:             # at least one input, or the sums would go through memory
        if next_W != NULL:
            PREFETCH_SECOND(next_W + i * next_step)
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
    if not ends:
        copy(sums, s0, width)
        copy(sums + width, s1, width)
        copy(sums + 2 * width, s2, width)
        copy(sums + 3 * width, s3, width)
        return
    end_row(y, start, s0, t0, width, both)
    if rows > 1:
        end_row(y + y_row, start + start_row, s1, t1, width, both)
    if rows > 2:
        end_row(y + 2 * y_row, start + 2 * start_row, s2, t2, width, both)
    if rows > 3:
        end_row(y + 3 * y_row, start + 3 * start_row, s3, t3, width, both)


cdef inline inlined_void product_tiles(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, Py_ssize_t x_step, const real *W, Py_ssize_t parts, Py_ssize_t inputs,
    Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t width, bint both,
) noexcept nogil:
    # y (rows, columns) = start + x (rows, parts * inputs) @ W (parts * inputs, width), tile after
    # tile, part after part. Where a panel has less columns than its width, tiles are worked on in
    # memory that is wide enough.
    cdef Py_ssize_t n, part, to_row, before_row, r = 0
    cdef real edge[TILE_ROWS * WIDEST]
    cdef real *to
    cdef const real *before
    if columns < width:
        memset(edge, 0, sizeof(edge))
    while r < rows:
        n = min(TILE_ROWS, rows - r)
        to, to_row = y + r * y_row, y_row
        before, before_row = start + r * start_row, start_row
        if columns < width:
            copy_rows(edge, width, before, before_row, n, columns)
            to = edge
            before, to_row, before_row = to, width, width
        for part in range(parts):
            tile(to, to_row, before, before_row, x + r * x_row + part * inputs * x_step, x_row,
                 x_step, W + part * inputs * width, inputs, n, width, both, NULL, True, NULL, 0)
            before, before_row = to, to_row
        if columns < width:
            copy_rows(y + r * y_row, y_row, edge, width, n, columns)
        r += TILE_ROWS


cdef inline inlined_void product_panel(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, Py_ssize_t x_step, const real *W, Py_ssize_t rows, Py_ssize_t inputs,
    Py_ssize_t columns, Py_ssize_t width, bint halved,
) noexcept nogil:
    # y (rows, columns) = start + x (rows, inputs) @ W (inputs, width)
    cdef Py_ssize_t r, last = inputs - 1, parts = 2 if halved else 1, n = inputs // parts
    if n == 0:
        copy_rows(y, y_row, start, start_row, rows, columns)
    elif halved and width * <Py_ssize_t> sizeof(real) <= SIDE_BY_SIDE_BYTES:
        product_tiles(y, y_row, start, start_row, x, x_row, x_step, W, 1, n, rows, columns, width,
                      True)
    else:
        product_tiles(y, y_row, start, start_row, x, x_row, x_step, W, parts, n, rows, columns,
                      width, False)
    if n * parts < inputs:
        for r in range(rows):
            add_scaled(y + r * y_row, x[r * x_row + last * x_step], W + last * width, columns)


cdef void any_panel(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, Py_ssize_t x_step, const real *W, Py_ssize_t rows, Py_ssize_t inputs,
    Py_ssize_t columns, bint halved,
) noexcept nogil:
    # product_panel with a width that is known where it is compiled
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), width = panel_width(W, columns)
    columns = min(columns, width)
    if width == lanes:
        product_panel(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, columns,
                      lanes, halved)
    elif width == 2 * lanes:
        product_panel(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, columns,
                      2 * lanes, halved)
    elif width == 3 * lanes:
        product_panel(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, columns,
                      3 * lanes, halved)
    elif PANEL_VECTORS > 2 and width == 4 * lanes:
        product_panel(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, columns,
                      4 * lanes, halved)
    elif PANEL_VECTORS > 2:
        product_panel(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, columns,
                      5 * lanes, halved)


cdef void tiled_product(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const real *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
    bint from_last,
) noexcept nogil:
    cdef Py_ssize_t full = full_width(W)
    cdef Py_ssize_t k, j, panels = panel_count(W, outputs)
    cdef Py_ssize_t last = rows - 1, tiled = rows - (rows % TILE_ROWS == 1)
    cdef Reach reach = reach_of(W, inputs * outputs)
    cdef const real *next_W
    for k in range(panels):
        j = (panels - 1 - k if from_last else k) * full
        if is_long(W, inputs, outputs - j):
            next_W = NULL
            if k + 1 < panels:
                next_W = W + (j - full if from_last else j + full) * inputs
            long_panel(y + j, y_row, start + j, start_row, x, x_row, W + j * inputs, next_W, tiled,
                       inputs)
        else:
            any_panel(y + j, y_row, start + j, start_row, x, x_row, 1, W + j * inputs, tiled,
                      inputs, outputs - j, reach == NEAR)
        if tiled < rows:
            any_panel_row(y + last * y_row + j, start + last * start_row + j, x + last * x_row,
                          W + j * inputs, inputs, outputs - j, reach)


cdef inline void product(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const real *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
    bint from_last,
) noexcept nogil:
    # y (rows, outputs) = start + x (rows, inputs) @ packed W (inputs, outputs), of one input at
    # least; rows lie y_row, start_row and x_row numbers apart. start is y, or one row for all, with
    # a start_row of 0. Panels are taken from the first to the last or, with from_last, the other
    # way.
    if rows == 1:
        product_row(y, start, x, W, inputs, outputs, from_last)
    else:
        tiled_product(y, y_row, start, start_row, x, x_row, W, rows, inputs, outputs, from_last)


cdef inline void add_product(
    real *y, Py_ssize_t y_row, const real *x, Py_ssize_t x_row, const real *W,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs, bint from_last,
) noexcept nogil:
    # y (rows, outputs) += x (rows, inputs) @ packed W (inputs, outputs); see product
    product(y, y_row, y, y_row, x, x_row, W, rows, inputs, outputs, from_last)
