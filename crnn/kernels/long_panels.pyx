# Products with panels that are too long for the fastest cache, on processors that lose by it: a
# panel is gone through in parts that fit, each with some rows of y, whose sums wait in memory for
# the next part. Each sum is what it is in product_tiles.

cdef enum:
    PART_BYTES = 32768      # of a panel
    PART_ROWS = 32          # of y
    MOST_COLUMNS = 64       # of a panel that is not the last


cdef inline bint is_long(const real *W, Py_ssize_t inputs, Py_ssize_t columns) noexcept nogil:
    # whether the first of the panels that hold so many columns is for long_panel
    cdef Py_ssize_t full = full_width(W)
    return (cuts_panels and inputs * full * <Py_ssize_t> sizeof(real) > PART_BYTES
            and columns >= full and panel_width(W, columns) == full)


cdef inline inlined_void panel_parts(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const real *W, const real *next_W, Py_ssize_t rows, Py_ssize_t inputs,
    Py_ssize_t width,
) noexcept nogil:
    # y (rows, width) = start + x (rows, inputs) @ W (inputs, width), of up to PART_ROWS rows. The
    # panel next_W, unless NULL, is asked for little by little, to be in the second cache then; with
    # fewer than 13 rows, only some of its lines, which has the processor guess the rest.
    # Where it has fewer columns than this one, what lies after it is asked for as well.
    cdef real sums[PART_ROWS * MOST_COLUMNS]
    cdef Py_ssize_t r, m, n, i = 0, part = PART_BYTES // (width * <Py_ssize_t> sizeof(real))
    cdef Py_ssize_t tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
    cdef Py_ssize_t next_step = (width + tiles - 1) // tiles
    memset(sums, 0, tiles * TILE_ROWS * width * sizeof(real))
    while i < inputs:
        n = min(part, inputs - i)
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
    # y (rows, full width) = start + x (rows, inputs) @ the panel W; the one after it is next_W, or
    # NULL
    cdef Py_ssize_t full = full_width(W)
    cdef Py_ssize_t n, r = 0
    while r < rows:
        n = min(PART_ROWS, rows - r)
        if next_W == NULL or r > 0:
            panel_parts(y + r * y_row, y_row, start + r * start_row, start_row, x + r * x_row,
                        x_row, W, NULL, n, inputs, full)
        else:
            panel_parts(y, y_row, start, start_row, x, x_row, W, next_W, n, inputs, full)
        r += PART_ROWS
