# Loops over tiles, rows and panels: everything that walks panels. Of a W that stays in L1 each
# number of y gets the sum over the first half of the inputs, that over the second half and, of an
# odd number, the last: a single row needs more sums that do not wait for each other. Of a larger
# one, two places to read from at a time would slow reading down. Which it is depends on the size of
# W alone, so that a row has the same bits whatever rows and panels it is multiplied with at once.


# --- one panel, several rows ---------------------------------------------------------------------

cdef inline Py_ssize_t together(Py_ssize_t left) noexcept nogil:
    # of so many rows or panels, how many are next: four or, rather than leave one or two for the
    # end, three
    return 4 if left == 4 or left > 6 else min(3, left)


cdef inline Py_ssize_t fewer_together(Py_ssize_t rows) noexcept nogil:
    # of so many rows, how many go by two or three
    cdef Py_ssize_t over = rows % TILE_ROWS
    return over + TILE_ROWS if rows > TILE_ROWS and 0 < over < 3 else over


cdef inline inlined_void product_tiles(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, Py_ssize_t x_step, const real *W, Py_ssize_t next_panel, Py_ssize_t inputs,
    Py_ssize_t rows, Py_ssize_t panels, Py_ssize_t width, bint both,
) noexcept nogil:
    # y (rows, panels * width) = start + x (rows, inputs) @ panels W (inputs, width), tile after
    # tile; see tile. Four rows are for one panel, more than two panels are for one row.
    cdef Py_ssize_t n, r = 0
    while r < rows:
        n = together(rows - r)
        if n == 4 and panels == 1:
            tile(y + r * y_row, y_row, start + r * start_row, start_row, x + r * x_row, x_row,
                 x_step, W, next_panel, inputs, 4, panels, width, both, False, NULL, True, NULL, 0)
        elif n == 3 and panels <= 2:
            tile(y + r * y_row, y_row, start + r * start_row, start_row, x + r * x_row, x_row,
                 x_step, W, next_panel, inputs, 3, panels, width, both, False, NULL, True, NULL, 0)
        elif n == 2 and panels <= 2:
            tile(y + r * y_row, y_row, start + r * start_row, start_row, x + r * x_row, x_row,
                 x_step, W, next_panel, inputs, 2, panels, width, both, False, NULL, True, NULL, 0)
        elif n == 1:
            tile(y + r * y_row, y_row, start + r * start_row, start_row, x + r * x_row, x_row,
                 x_step, W, next_panel, inputs, 1, panels, width, both, False, NULL, True, NULL, 0)
        r += n


cdef inline inlined_void product_panels(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, Py_ssize_t x_step, const real *W, Py_ssize_t rows, Py_ssize_t inputs,
    Py_ssize_t panels, Py_ssize_t width, bint halved, bint both,
) noexcept nogil:
    # y (rows, panels * width) = start + x (rows, inputs) @ panels W (inputs, width), halved into
    # two sums or not; both at once or not
    cdef Py_ssize_t r, k, half, last = inputs - 1, size = inputs * width
    cdef Py_ssize_t halves = 2 if halved else 1, n = inputs // halves
    cdef const real *before = start
    cdef Py_ssize_t before_row = start_row
    if n == 0:
        copy_rows(y, y_row, start, start_row, rows, panels * width)
    elif both:
        product_tiles(y, y_row, start, start_row, x, x_row, x_step, W, size, n, rows, panels, width,
                      True)
    else:
        for half in range(halves):
            product_tiles(y, y_row, before, before_row, x + half * n * x_step, x_row, x_step,
                          W + half * n * width, size, n, rows, panels, width, False)
            before, before_row = y, y_row
    if n * halves < inputs:
        for r in range(rows):
            for k in range(panels):
                add_scaled(y + r * y_row + k * width, x[r * x_row + last * x_step],
                           W + k * size + last * width, width)


cdef outlined_void narrow_panel(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const real *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t width,
) noexcept nogil:
    # product_panels of one halved panel of up to BOTH_HALVES_BYTES, with a width that is known
    # where it is compiled
    if width == VECTOR:
        product_panels(y, y_row, start, start_row, x, x_row, 1, W, rows, inputs, 1, VECTOR, True,
                       True)
    elif BOTH_HALVES_BYTES > VECTOR_BYTES:
        product_panels(y, y_row, start, start_row, x, x_row, 1, W, rows, inputs, 1, 2 * VECTOR,
                       True, True)


cdef outlined_void wide_panel(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, Py_ssize_t x_step, const real *W, Py_ssize_t rows, Py_ssize_t inputs,
    Py_ssize_t width, bint halved,
) noexcept nogil:
    # product_panels of any other panel
    if width == VECTOR:
        product_panels(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, 1, VECTOR,
                       halved, False)
    elif width == 2 * VECTOR:
        product_panels(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, 1, 2 * VECTOR,
                       halved, False)
    elif width == 3 * VECTOR:
        product_panels(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, 1, 3 * VECTOR,
                       halved, False)
    elif PANEL_VECTORS > 2 and width == 4 * VECTOR:
        product_panels(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, 1, 4 * VECTOR,
                       halved, False)
    elif PANEL_VECTORS > 2:
        product_panels(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, 1, 5 * VECTOR,
                       halved, False)


cdef inline void whole_panel(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, Py_ssize_t x_step, const real *W, Py_ssize_t rows, Py_ssize_t inputs,
    Py_ssize_t width, bint halved,
) noexcept nogil:
    # y (rows, width) = start + x (rows, inputs) @ W (inputs, width); halved, x_step is 1
    if halved and width * <Py_ssize_t> sizeof(real) <= BOTH_HALVES_BYTES:
        narrow_panel(y, y_row, start, start_row, x, x_row, W, rows, inputs, width)
    else:
        wide_panel(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, width, halved)


# --- panels side by side -------------------------------------------------------------------------
# One to three rows of a panel of two vectors are too few sums: each waits for its last multiply-add
# for longer than reading takes. So panels are multiplied side by side, as many as registers hold
# the sums of: four with a single row, or two.

cdef inline Py_ssize_t side_by_side(Py_ssize_t rows, Py_ssize_t left) noexcept nogil:
    # with how many of so many whole panels some rows are multiplied at once
    if PANEL_VECTORS > 2 or rows == 0:
        return 1
    return together(left) if rows == 1 else min(left, 2)


cdef outlined_void panels_side_by_side(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const real *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t panels,
    bint halved,
) noexcept nogil:
    # y (rows, panels * FULL_WIDTH) = start + x (rows, inputs) @ W, of two panels (inputs,
    # FULL_WIDTH) or, if there is but one row, up to four
    if PANEL_VECTORS > 2:
        return
    if panels == 2:
        product_panels(y, y_row, start, start_row, x, x_row, 1, W, rows, inputs, 2, FULL_WIDTH,
                       halved, False)
    elif panels == 3:
        product_panels(y, 0, start, 0, x, 0, 1, W, 1, inputs, 3, FULL_WIDTH, halved, False)
    else:
        product_panels(y, 0, start, 0, x, 0, 1, W, 1, inputs, 4, FULL_WIDTH, halved, False)


# --- one panel, one row --------------------------------------------------------------------------

cdef inline inlined_void panel_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t width, Level level,
) noexcept nogil:
    # y (width,) = start + x (inputs,) @ W (inputs, width), with the sums of product_panels
    cdef Py_ssize_t half = inputs // 2
    if level == L1:
        if half:
            tile(y, 0, start, 0, x, 0, 1, W, 0, half, 1, 1, width, True, False, NULL, True, NULL, 0)
            start = y
        if inputs % 2:
            scaled_row(y, start, x[inputs - 1], W + (inputs - 1) * width, width)
    elif level == L2:
        tile(y, 0, start, 0, x, 0, 1, W, 0, inputs, 1, 1, width, False, False, NULL, True, NULL, 0)
    else:
        tile(y, 0, start, 0, x, 0, 1, W, 0, inputs, 1, 1, width, False, True, NULL, True, NULL, 0)


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
    Py_ssize_t columns, Py_ssize_t width, bint halved,
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
        whole_panel(edge, width, edge, width, x + r * x_row, x_row, x_step, W, n, inputs, width,
                    halved)
        copy_rows(y + r * y_row, y_row, edge, width, n, columns)
        r += EDGE_ROWS


cdef outlined_void edge_panel_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t columns, Py_ssize_t width, Level level,
) noexcept nogil:
    # edge_panel of a single row
    cdef real edge[WIDEST]
    cdef Py_ssize_t j
    for j in range(columns, width):
        edge[j] = 0
    copy_rows(edge, 0, start, 0, 1, columns)
    whole_panel_row(edge, edge, x, W, inputs, width, level)
    copy_rows(y, 0, edge, 0, 1, columns)


cdef inline void any_panel(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, Py_ssize_t x_step, const real *W, Py_ssize_t rows, Py_ssize_t inputs,
    Py_ssize_t columns, Level level,
) noexcept nogil:
    # y (rows, min(columns, width)) = start + x (rows, inputs) @ W (inputs, width)
    cdef Py_ssize_t width = panel_width(columns)
    if columns < width:
        edge_panel(y, y_row, start, start_row, x, x_row, x_step, W, rows, inputs, columns, width,
                   level == L1)
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
        edge_panel_row(y, start, x, W, inputs, columns, width, level)
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
    # rows, all in tiles of four. The panel next_W, unless NULL, is prefetched little by little, to
    # be in L2 then; with fewer than 13 rows, only some of its lines, which has the processor guess
    # the rest. Where it has fewer columns than this one, what lies after it is prefetched as well.
    cdef real sums[PANEL_BLOCK_ROWS * WIDEST_FULL]
    cdef Py_ssize_t r, n, i = 0, block = PANEL_BLOCK_BYTES // (width * <Py_ssize_t> sizeof(real))
    cdef Py_ssize_t tiles = rows // TILE_ROWS
    cdef Py_ssize_t next_step = (width + tiles - 1) // tiles
    memset(sums, 0, tiles * TILE_ROWS * width * sizeof(real))
    while i < inputs:
        n = min(block, inputs - i)
        r = 0
        while r < rows:
            tile(y + r * y_row, y_row, start + r * start_row, start_row, x + r * x_row + i, x_row,
                 1, W + i * width, 0, n, TILE_ROWS, 1, width, False, False, sums + r * width,
                 i + n == inputs, next_W, next_step)
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

cdef inline Py_ssize_t next_panels(
    Py_ssize_t rows, Py_ssize_t outputs, Py_ssize_t panels, Py_ssize_t done, bint from_last
) noexcept nogil:
    # with how many of the panels, of which some are done, so many rows are multiplied next. The
    # last panel goes by itself where it has another width.
    cdef Py_ssize_t left = panels - done, others = panels * FULL_WIDTH != outputs
    if others and (done == 0 if from_last else left == 1):
        return 1
    return side_by_side(rows, left if from_last else left - others)


cdef void panels_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t outputs, bint from_last,
) noexcept nogil:
    # y (outputs,) = start + x (inputs,) @ W (inputs, outputs)
    cdef Py_ssize_t n, j, done = 0, panels = panel_count(outputs)
    cdef Level level = level_of(inputs * outputs)
    while done < panels:
        n = next_panels(1, outputs, panels, done, from_last)
        j = (panels - done - n if from_last else done) * FULL_WIDTH
        if n == 1:
            any_panel_row(y + j, start + j, x, W + j * inputs, inputs, outputs - j, level)
        else:
            panels_side_by_side(y + j, 0, start + j, 0, x, 0, W + j * inputs, 1, inputs, n,
                                level == L1)
        done += n


cdef void panels_rows(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const real *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
    bint from_last,
) noexcept nogil:
    # y (rows, outputs) = start + x (rows, inputs) @ W (inputs, outputs). What tiles of four rows
    # take goes panel by panel; for the others panels may lie side by side, and those that go
    # through a long panel take it as one that is not.
    cdef Py_ssize_t n, k, j, at, first, done = 0, panels = panel_count(outputs)
    cdef Py_ssize_t others = fewer_together(rows), fours = rows - others
    cdef Level level = level_of(inputs * outputs)
    cdef const real *next_W
    while done < panels:
        n = 1 if blocks_long_panels else next_panels(others, outputs, panels, done, from_last)
        j = (panels - done - n if from_last else done) * FULL_WIDTH
        first = 0
        if fours and is_long(inputs, outputs - j):
            next_W = NULL
            if done + 1 < panels:
                next_W = W + (j - FULL_WIDTH if from_last else j + FULL_WIDTH) * inputs
            long_panel(y + j, y_row, start + j, start_row, x, x_row, W + j * inputs, next_W, fours,
                       inputs)
            first = fours
        elif n > 1 and fours:
            for k in range(n):
                at = j + k * FULL_WIDTH
                whole_panel(y + at, y_row, start + at, start_row, x, x_row, 1, W + at * inputs,
                            fours, inputs, FULL_WIDTH, level == L1)
            first = fours
        if n > 1:
            panels_side_by_side(y + first * y_row + j, y_row, start + first * start_row + j,
                                start_row, x + first * x_row, x_row, W + j * inputs, others, inputs,
                                n, level == L1)
        elif first < rows:
            any_panel(y + first * y_row + j, y_row, start + first * start_row + j, start_row,
                      x + first * x_row, x_row, 1, W + j * inputs, rows - first, inputs,
                      outputs - j, level)
        done += n


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


cdef inline Py_ssize_t gradient_width(Py_ssize_t columns) noexcept nogil:
    # of the first GRADIENT_PANELS of the panels that hold so many columns
    cdef Py_ssize_t _k, width = 0
    for _k in range(GRADIENT_PANELS):
        width += panel_width(max(0, columns - width))
    return width


cdef inline void gather_panels(
    real *packed, const real *rows, Py_ssize_t row, const Py_ssize_t *which, Py_ssize_t n,
    Py_ssize_t columns, Py_ssize_t width,
) noexcept nogil:
    # the first panels, which are so wide, of rows[which[:n], :columns]; see gather_panel
    cdef Py_ssize_t panel, j = 0
    while j < width:
        panel = panel_width(columns - j)
        gather_panel(packed + j * n, rows + j, row, which, n, min(panel, columns - j), panel)
        j += panel


cdef inline void add_panel_gradients(
    real *dW, Py_ssize_t dW_row, const real *x, Py_ssize_t x_row, const Py_ssize_t *which,
    const real *dy, Py_ssize_t steps, Py_ssize_t inputs, Py_ssize_t columns, Py_ssize_t width,
) noexcept nogil:
    # dW (inputs, min(columns, width)) += x[which] (steps, inputs).T @ packed dy (steps, width), of
    # the panels that hold so many columns the first ones, which are so wide. Some columns of x are
    # copied together: apart, at a power of two, they would push each other out of the cache. Of a
    # large dW, what sums will be added to is prefetched.
    cdef real few[GRADIENT_STEPS * GRADIENT_INPUTS]
    cdef real *part
    cdef bint large = is_large(inputs * dW_row)
    cdef Py_ssize_t r, n, j, i = 0
    while i < inputs:
        n = min(GRADIENT_INPUTS, inputs - i)
        if large:
            for r in range(n):
                prefetch(dW + (i + r) * dW_row, min(columns, width))
        gather_rows(few, GRADIENT_INPUTS, x + i, x_row, which, steps, n)
        j = 0
        while j < width:
            part = dW + i * dW_row + j
            any_panel(part, dW_row, part, dW_row, few, 1, GRADIENT_INPUTS, dy + j * steps, n, steps,
                      columns - j, L2)
            j += panel_width(columns - j)
        i += n
