# Loops over tiles, rows and panels: everything that walks panels. Of a W that stays in L1 each
# number of y gets the sum over the first half of the inputs, that over the second half and, of an
# odd number, the last: a single row needs more sums that do not wait for each other. Of a larger
# one, two places to read from at a time would slow reading down. So any split of rows or columns
# gives the same bits.


# --- one panel, several rows ---------------------------------------------------------------------

cdef inline inlined_void product_tiles(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, Py_ssize_t x_step, const real *W, Py_ssize_t halves, Py_ssize_t inputs,
    Py_ssize_t rows, Py_ssize_t width, bint both,
) noexcept nogil:
    # y (rows, width) = start + x (rows, halves * inputs) @ W (halves * inputs, width), of one half
    # or two, tile after tile
    cdef Py_ssize_t n, half, before_row, r = 0
    cdef const real *before
    while r < rows:
        n = min(TILE_ROWS, rows - r)
        before, before_row = start + r * start_row, start_row
        for half in range(halves):
            tile(y + r * y_row, y_row, before, before_row,
                 x + r * x_row + half * inputs * x_step, x_row, x_step, W + half * inputs * width,
                 inputs, n, width, both, NULL, True, NULL, 0)
            before, before_row = y + r * y_row, y_row
        r += TILE_ROWS


cdef inline inlined_void product_panel(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, Py_ssize_t x_step, const real *W, Py_ssize_t rows, Py_ssize_t inputs,
    Py_ssize_t width, bint halved,
) noexcept nogil:
    # y (rows, width) = start + x (rows, inputs) @ W (inputs, width)
    cdef Py_ssize_t r, last = inputs - 1, halves = 2 if halved else 1, n = inputs // halves
    if n == 0:
        copy_rows(y, y_row, start, start_row, rows, width)
    elif halved and width * <Py_ssize_t> sizeof(real) <= SIDE_BY_SIDE_BYTES:
        product_tiles(y, y_row, start, start_row, x, x_row, x_step, W, 1, n, rows, width, True)
    else:
        product_tiles(y, y_row, start, start_row, x, x_row, x_step, W, halves, n, rows, width,
                      False)
    if n * halves < inputs:
        for r in range(rows):
            add_scaled(y + r * y_row, x[r * x_row + last * x_step], W + last * width, width)


cdef void whole_panel(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, Py_ssize_t x_step, const real *W, Py_ssize_t rows, Py_ssize_t inputs,
    Py_ssize_t width, bint halved,
) noexcept nogil:
    # product_panel with a width that is known where it is compiled
    if width == VECTOR:
        product_panel(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, VECTOR, halved)
    elif width == 2 * VECTOR:
        product_panel(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, 2 * VECTOR,
                      halved)
    elif width == 3 * VECTOR:
        product_panel(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, 3 * VECTOR,
                      halved)
    elif PANEL_VECTORS > 2 and width == 4 * VECTOR:
        product_panel(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, 4 * VECTOR,
                      halved)
    elif PANEL_VECTORS > 2:
        product_panel(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, 5 * VECTOR,
                      halved)


# --- one panel, one row --------------------------------------------------------------------------

cdef inline inlined_void panel_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t width, Level level,
) noexcept nogil:
    # y (width,) = start + x (inputs,) @ W (inputs, width), with the sums of product_panel
    cdef Py_ssize_t half = inputs // 2
    if level == L1:
        if half:
            sums_row(y, start, x, W, half, width, True, False)
            start = y
        if inputs % 2:
            scaled_row(y, start, x[inputs - 1], W + (inputs - 1) * width, width)
    elif level == L2:
        sums_row(y, start, x, W, inputs, width, False, False)
    else:
        sums_row(y, start, x, W, inputs, width, False, True)


cdef void whole_panel_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t width, Level level,
) noexcept nogil:
    # panel_row with a width that is known where it is compiled
    if width == VECTOR:
        panel_row(y, start, x, W, inputs, VECTOR, level)
    elif width == 2 * VECTOR:
        panel_row(y, start, x, W, inputs, 2 * VECTOR, level)
    elif width == 3 * VECTOR:
        panel_row(y, start, x, W, inputs, 3 * VECTOR, level)
    elif PANEL_VECTORS > 2 and width == 4 * VECTOR:
        panel_row(y, start, x, W, inputs, 4 * VECTOR, level)
    elif PANEL_VECTORS > 2:
        panel_row(y, start, x, W, inputs, 5 * VECTOR, level)


# --- the first of the panels that hold some columns, which may be fewer than its width -----------

cdef outlined_void edge_panel(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, Py_ssize_t x_step, const real *W, Py_ssize_t rows, Py_ssize_t inputs,
    Py_ssize_t columns, Py_ssize_t width, Level level,
) noexcept nogil:
    # y (rows, columns) = start + x (rows, inputs) @ W (inputs, width)[:, :columns], some rows
    # at a time, in memory that is as wide as the panel
    cdef real edge[EDGE_ROWS * WIDEST]
    cdef Py_ssize_t j, n, r
    for r in range(min(rows, EDGE_ROWS)):
        for j in range(columns, width):
            edge[r * width + j] = 0
    r = 0
    while r < rows:
        n = min(EDGE_ROWS, rows - r)
        copy_rows(edge, width, start + r * start_row, start_row, n, columns)
        if rows == 1 and x_step == 1:
            whole_panel_row(edge, edge, x, W, inputs, width, level)
        else:
            whole_panel(edge, width, edge, width, x + r * x_row, x_row, x_step, W, n, inputs,
                        width, level == L1)
        copy_rows(y + r * y_row, y_row, edge, width, n, columns)
        r += EDGE_ROWS


cdef inline void any_panel(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, Py_ssize_t x_step, const real *W, Py_ssize_t rows, Py_ssize_t inputs,
    Py_ssize_t columns, Level level,
) noexcept nogil:
    # y (rows, min(columns, width)) = start + x (rows, inputs) @ W (inputs, width)
    cdef Py_ssize_t width = panel_width(columns)
    if columns < width:
        edge_panel(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, columns, width,
                   level)
    else:
        whole_panel(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, width,
                    level == L1)


cdef inline void any_panel_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t columns, Level level,
) noexcept nogil:
    # y (min(columns, width),) = start + x (inputs,) @ W (inputs, width)
    cdef Py_ssize_t width = panel_width(columns)
    if columns < width:
        edge_panel(y, 0, start, 0, x, 0, 1, W, 1, inputs, columns, width, level)
    else:
        whole_panel_row(y, start, x, W, inputs, width, level)


# --- a panel that L1 does not hold ---------------------------------------------------------------
# On a processor that loses by it such a panel is gone through in blocks of its inputs that L1
# holds, each with some rows of y, whose sums wait in memory for the next block. Each sum is what it
# is in product_tiles.

cdef inline bint is_long(Py_ssize_t inputs, Py_ssize_t columns) noexcept nogil:
    # whether the first of the panels that hold so many columns is for long_panel
    cdef Py_ssize_t size = inputs * FULL_WIDTH * <Py_ssize_t> sizeof(real)
    return (blocks_long_panels and size > PANEL_BLOCK_BYTES and columns >= FULL_WIDTH
            and panel_width(columns) == FULL_WIDTH)


cdef inline inlined_void panel_blocks(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const real *W, const real *next_W, Py_ssize_t rows, Py_ssize_t inputs,
    Py_ssize_t width,
) noexcept nogil:
    # y (rows, width) = start + x (rows, inputs) @ W (inputs, width), of up to PANEL_BLOCK_ROWS
    # rows. The panel next_W, unless NULL, is prefetched little by little, to be in L2 then; with
    # fewer than 13 rows, only some of its lines, which has the processor guess the rest. Where it
    # has fewer columns than this one, what lies after it is prefetched as well.
    cdef real sums[PANEL_BLOCK_ROWS * WIDEST_FULL]
    cdef Py_ssize_t r, m, n, i = 0, block = PANEL_BLOCK_BYTES // (width * <Py_ssize_t> sizeof(real))
    cdef Py_ssize_t tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
    cdef Py_ssize_t next_step = (width + tiles - 1) // tiles
    memset(sums, 0, tiles * TILE_ROWS * width * sizeof(real))
    while i < inputs:
        n = min(block, inputs - i)
        r = 0
        while r < rows:
            m = min(TILE_ROWS, rows - r)
            tile(y + r * y_row, y_row, start + r * start_row, start_row, x + r * x_row + i, x_row,
                 1, W + i * width, n, m, width, False, sums + r * width, i + n == inputs, next_W,
                 next_step)
            if next_W != NULL:
                next_W = next_W + n * next_step
            r += TILE_ROWS
        i += n


cdef outlined_void long_panel(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const real *W, const real *next_W, Py_ssize_t rows, Py_ssize_t inputs,
) noexcept nogil:
    # y (rows, FULL_WIDTH) = start + x (rows, inputs) @ the panel W; the one after it is next_W, or
    # NULL
    cdef Py_ssize_t n, r = 0
    while r < rows:
        n = min(PANEL_BLOCK_ROWS, rows - r)
        if next_W == NULL or r > 0:
            panel_blocks(y + r * y_row, y_row, start + r * start_row, start_row, x + r * x_row,
                         x_row, W, NULL, n, inputs, FULL_WIDTH)
        else:
            panel_blocks(y, y_row, start, start_row, x, x_row, W, next_W, n, inputs, FULL_WIDTH)
        r += PANEL_BLOCK_ROWS


# --- all panels ----------------------------------------------------------------------------------

cdef void panels_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t outputs, bint from_last,
) noexcept nogil:
    # y (outputs,) = start + x (inputs,) @ W (inputs, outputs)
    cdef Py_ssize_t k, j, panels = panel_count(outputs)
    cdef Level level = level_of(inputs * outputs)
    for k in range(panels):
        j = (panels - 1 - k if from_last else k) * FULL_WIDTH
        any_panel_row(y + j, start + j, x, W + j * inputs, inputs, outputs - j, level)


cdef void panels_rows(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const real *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
    bint from_last,
) noexcept nogil:
    # y (rows, outputs) = start + x (rows, inputs) @ W (inputs, outputs); one row more than tiles
    # need goes by itself
    cdef Py_ssize_t k, j, panels = panel_count(outputs)
    cdef Py_ssize_t last = rows - 1, tiled = rows - (rows % TILE_ROWS == 1)
    cdef Level level = level_of(inputs * outputs)
    cdef const real *next_W
    for k in range(panels):
        j = (panels - 1 - k if from_last else k) * FULL_WIDTH
        if is_long(inputs, outputs - j):
            next_W = NULL
            if k + 1 < panels:
                next_W = W + (j - FULL_WIDTH if from_last else j + FULL_WIDTH) * inputs
            long_panel(y + j, y_row, start + j, start_row, x, x_row, W + j * inputs, next_W, tiled,
                       inputs)
        else:
            any_panel(y + j, y_row, start + j, start_row, x, x_row, 1, W + j * inputs, tiled,
                      inputs, outputs - j, level)
        if tiled < rows:
            any_panel_row(y + last * y_row + j, start + last * start_row + j, x + last * x_row,
                          W + j * inputs, inputs, outputs - j, level)


# --- a row of x that is mostly zeros -------------------------------------------------------------
# What is 0 adds nothing to a sum: with the others alone, in their order, sums have the same bits.

cdef bint is_sparse(const real *x, Py_ssize_t n) noexcept nogil:
    # whether so few numbers of x (n,) are not 0 that to list them takes less time than the product.
    # Of many numbers some are looked at, from its start to its end: the first may be padding, and
    # blocks that are a number of steps apart would always have the same features.
    cdef Py_ssize_t i, end, at = 0, looked = 0, others = 0, apart = SPARSE_BLOCK
    if n > SPARSE_NUMBERS:
        apart += n * SPARSE_BLOCK // SPARSE_NUMBERS
    while at < n:
        end = min(at + SPARSE_BLOCK, n)
        for i in range(at, end):
            others += x[i] != 0
        looked += end - at
        at += apart
    return others * SPARSE < looked


cdef inline Py_ssize_t list_others(
    real *values, Py_ssize_t *which, const real *x, Py_ssize_t x_step, Py_ssize_t n
) noexcept nogil:
    # the numbers of x (n,) that are not 0, and which they are, up to LISTED; returns how many, or
    # TOO_MANY
    cdef Py_ssize_t i, listed = 0
    for i in range(n):
        if listed == LISTED:
            return TOO_MANY
        values[listed], which[listed] = x[i * x_step], i
        listed += x[i * x_step] != 0
    return listed


cdef void listed_row(
    real *y, const real *start, const real *x, const Py_ssize_t *which, Py_ssize_t listed,
    const real *W, Py_ssize_t W_row, Py_ssize_t columns,
) noexcept nogil:
    # y (columns,) = start + x (listed,) @ W[which] (listed, columns), where W lies as it is
    cdef Py_ssize_t j = 0
    if listed == 0:
        for j in range(columns):
            y[j] = start[j] + <real> 0
        return
    while j + FULL_WIDTH <= columns:
        listed_sums(y + j, start + j, x, which, listed, W + j, W_row, FULL_WIDTH)
        j += FULL_WIDTH
    while j + VECTOR <= columns:
        listed_sums(y + j, start + j, x, which, listed, W + j, W_row, VECTOR)
        j += VECTOR
    while j < columns:
        listed_sums(y + j, start + j, x, which, listed, W + j, W_row, 1)
        j += 1


# --- gradients of weights ------------------------------------------------------------------------
# Products in which time steps are what is summed over, some of them at a time, never in halves.

cdef inline Py_ssize_t list_rows(
    Py_ssize_t *which, const real *rows, Py_ssize_t row, Py_ssize_t n, Py_ssize_t columns
) noexcept nogil:
    # which of the rows (n, columns) are not 0; returns how many
    cdef Py_ssize_t r, j, listed = 0
    for r in range(n):
        j = 0
        while j < columns and rows[r * row + j] == 0:
            j += 1
        which[listed] = r
        listed += j < columns
    return listed


cdef inline void add_panel_gradients(
    real *dW, Py_ssize_t dW_row, const real *x, Py_ssize_t x_row, const Py_ssize_t *which,
    const real *dy, Py_ssize_t steps, Py_ssize_t inputs, Py_ssize_t columns,
) noexcept nogil:
    # dW (inputs, columns) += x[which] (steps, inputs).T @ packed dy (steps, columns). Some columns
    # of x are copied together: apart, at a power of two, they would push each other out of the
    # cache. Of a large dW, what sums will be added to is prefetched.
    cdef real few[GRADIENT_STEPS * GRADIENT_INPUTS]
    cdef bint large = is_large(inputs * dW_row)
    cdef Py_ssize_t r, n, i = 0
    while i < inputs:
        n = min(GRADIENT_INPUTS, inputs - i)
        if large:
            for r in range(n):
                prefetch(dW + (i + r) * dW_row, min(columns, panel_width(columns)))
        gather_rows(few, GRADIENT_INPUTS, x + i, x_row, which, steps, n)
        any_panel(dW + i * dW_row, dW_row, dW + i * dW_row, dW_row, few, 1, GRADIENT_INPUTS, dy, n,
                  steps, columns, L2)
        i += n
