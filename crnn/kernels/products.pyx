# Every matrix product of the package: y += x @ W. W is packed into panels, four vector registers
# wide (or two), each of which lies in memory in the order of its inputs:
#
#     panel 0 (inputs, width)   panel 1 (inputs, width)   ...   last panel (inputs, what is left)
#
# The last panel is filled up with zeros to whole vectors; rather than leave a single vector to a
# panel of its own, it has one more than the others. A panel's sums stay in registers while x and
# the panel pass by (add_tile): four rows of y at a time, or a single one. The loops over columns
# run along memory and vectorise without reordering any sum: each number of y gets the sum over the
# inputs in their order. Of a small W it gets the sum over the first half of them, that over the
# second half and, of an odd number, the last: such a W is in the fastest cache, and a single row
# needs more sums that do not wait for each other. Of a larger one, two places to read from at a
# time would slow reading down. So any split of rows or columns gives the same bits. Gradients of
# weights, where time steps are what is summed over, are never sums of halves.

from libc.string cimport memset

cdef extern from *:
    """
    #if defined(__AVX512F__)
    #define VECTOR_BYTES 64
    #define PANEL_VECTORS 4         /* of 32 registers 16 hold the sums of a tile, four rows high */
    #define SIDE_BY_SIDE_BYTES 128  /* and so they do of half as wide a tile, both halves at once */
    #elif defined(__AVX2__)
    #define VECTOR_BYTES 32
    #define PANEL_VECTORS 2         /* of 16 registers 8 */
    #define SIDE_BY_SIDE_BYTES 32
    #else
    #define VECTOR_BYTES 16
    #define PANEL_VECTORS 2
    #define SIDE_BY_SIDE_BYTES 16
    #endif
    /* A width that the compiler knows is what keeps sums in registers: these must be inlined. */
    #if defined(__GNUC__)
    #define INLINED_VOID __attribute__((always_inline)) void
    #define PREFETCH(address) __builtin_prefetch(address)
    #else
    #define INLINED_VOID void
    #define PREFETCH(address)
    #endif
    """
    enum:
        VECTOR_BYTES
        PANEL_VECTORS
        SIDE_BY_SIDE_BYTES
    ctypedef void inlined_void "INLINED_VOID"
    void PREFETCH(const void *address) noexcept nogil

cdef enum:
    WIDEST = 80             # columns of the widest panel: five vectors of 16 floats
    TILE_ROWS = 4
    NEAR_BYTES = 32768      # of a W that stays in the fastest cache
    FAR_BYTES = 3 << 19     # of a W that does not stay in the second cache: it is asked for early
    AHEAD_BYTES = 2048      # before it is read
    LINE_BYTES = 64         # of the caches
    GRADIENT_STEPS = 64     # rows of x and dy whose outer products are added up together
    COPIED = 16             # numbers at a time
    GRADIENT_INPUTS = 16    # columns of x that are copied together
    PACKED_ROWS = 16        # rows of W that a transposing copy takes at a time: a cache line's


cdef inline inlined_void add_scaled(real *y, real x, const real *W, Py_ssize_t n) noexcept nogil:
    # y (n,) += x * W (n,)
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = multiply_add(x, W[j], y[j])


cdef inline inlined_void prefetch(const real *W, Py_ssize_t n) noexcept nogil:
    # what the processor would guess by itself takes up to a fifth longer
    cdef Py_ssize_t line
    for line in range(n * <Py_ssize_t> sizeof(real) // LINE_BYTES):
        PREFETCH(<const char *> W + AHEAD_BYTES + line * LINE_BYTES)


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


cdef inline inlined_void add_sums(
    real *y, const real *first, const real *second, Py_ssize_t width, bint both
) noexcept nogil:
    # y (width,) += first, then second if there are both
    cdef Py_ssize_t j
    for j in range(width):
        y[j] = y[j] + first[j] + second[j] if both else y[j] + first[j]


cdef inline inlined_void add_tile(
    real *y, Py_ssize_t y_row, const real *x, Py_ssize_t x_row, Py_ssize_t x_step, const real *W,
    Py_ssize_t inputs, Py_ssize_t rows, Py_ssize_t width, bint single, bint both, bint far,
) noexcept nogil:
    # y[:rows, :width] += x[:rows] @ W (inputs, width), of a single row or of 2 to 4, of which the
    # last is repeated; with both, inputs and W go on for as many again, in sums of their own
    cdef Py_ssize_t j, i = 0, x_half = inputs * x_step
    cdef const real *x1 = x + x_row
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
        if far:
            prefetch(W + i * width, width)
        add_scaled(s0, x[i * x_step], W + i * width, width)
        if both:
            add_scaled(t0, x[x_half + i * x_step], W_half + i * width, width)
        if not single:
            add_scaled(s1, x1[i * x_step], W + i * width, width)
            add_scaled(s2, x2[i * x_step], W + i * width, width)
            add_scaled(s3, x3[i * x_step], W + i * width, width)
        if both and not single:
            add_scaled(t1, x1[x_half + i * x_step], W_half + i * width, width)
            add_scaled(t2, x2[x_half + i * x_step], W_half + i * width, width)
            add_scaled(t3, x3[x_half + i * x_step], W_half + i * width, width)
        i += 1
        if i == inputs:
            break
    add_sums(y, s0, t0, width, both)
    if not single:
        add_sums(y + y_row, s1, t1, width, both)
        if rows > 2:
            add_sums(y + 2 * y_row, s2, t2, width, both)
        if rows > 3:
            add_sums(y + 3 * y_row, s3, t3, width, both)


cdef inline inlined_void add_tiles(
    real *y, Py_ssize_t y_row, const real *x, Py_ssize_t x_row, Py_ssize_t x_step, const real *W,
    Py_ssize_t inputs, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t width,
    bint single, bint both, bint far,
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
                 x + r * x_row, x_row, x_step, W, inputs, n, width, single, both, far)
        if columns < width:
            copy_rows(y + r * y_row, y_row, edge, width, n, columns)
        r += TILE_ROWS


cdef inline inlined_void add_halves(
    real *y, Py_ssize_t y_row, const real *x, Py_ssize_t x_row, Py_ssize_t x_step, const real *W,
    Py_ssize_t rows, Py_ssize_t tiled, Py_ssize_t inputs, Py_ssize_t columns, Py_ssize_t width,
) noexcept nogil:
    # y (rows, columns) += x (rows, inputs) @ W (inputs, width), of a small W
    cdef Py_ssize_t r, half = inputs // 2, last = inputs - 1
    if half and width * <Py_ssize_t> sizeof(real) <= SIDE_BY_SIDE_BYTES:
        add_tiles(y, y_row, x, x_row, x_step, W, half, tiled, columns, width, False, True, False)
    elif half:
        add_tiles(y, y_row, x, x_row, x_step, W, half, tiled, columns, width, False, False, False)
        add_tiles(y, y_row, x + half * x_step, x_row, x_step, W + half * width, half, tiled,
                  columns, width, False, False, False)
    if half and tiled < rows:
        add_tiles(y + tiled * y_row, y_row, x + tiled * x_row, x_row, x_step, W, half, 1,
                  columns, width, True, True, False)
    if inputs % 2:
        for r in range(rows):
            add_scaled(y + r * y_row, x[r * x_row + last * x_step], W + last * width, columns)


cdef inline inlined_void add_panel(
    real *y, Py_ssize_t y_row, const real *x, Py_ssize_t x_row, Py_ssize_t x_step, const real *W,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t columns, Py_ssize_t width,
    bint halved, bint far,
) noexcept nogil:
    # y (rows, columns) += x (rows, inputs) @ W (inputs, width)
    cdef Py_ssize_t tiled = rows - (rows % TILE_ROWS == 1)
    if halved:
        add_halves(y, y_row, x, x_row, x_step, W, rows, tiled, inputs, columns, width)
        return
    add_tiles(y, y_row, x, x_row, x_step, W, inputs, tiled, columns, width, False, False, False)
    y, x = y + tiled * y_row, x + tiled * x_row
    if tiled < rows and far:
        add_tiles(y, y_row, x, x_row, x_step, W, inputs, 1, columns, width, True, False, True)
    elif tiled < rows:
        add_tiles(y, y_row, x, x_row, x_step, W, inputs, 1, columns, width, True, False, False)


cdef inline Py_ssize_t panel_width(const real *W, Py_ssize_t columns) noexcept nogil:
    # of the first of the panels that hold so many columns
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real)
    if columns > (PANEL_VECTORS + 1) * lanes:
        return PANEL_VECTORS * lanes
    return (columns + lanes - 1) // lanes * lanes


cdef inline Py_ssize_t panel_count(const real *W, Py_ssize_t columns) noexcept nogil:
    # all but the last are as wide as PANEL_VECTORS
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real)
    return max(1, (columns - lanes + PANEL_VECTORS * lanes - 1) // (PANEL_VECTORS * lanes))


cdef void add_any_panel(
    real *y, Py_ssize_t y_row, const real *x, Py_ssize_t x_row, Py_ssize_t x_step, const real *W,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t columns, bint halved, bint far,
) noexcept nogil:
    # add_panel with a width that is known where it is compiled
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), width = panel_width(W, columns)
    columns = min(columns, width)
    if width == lanes:
        add_panel(y, y_row, x, x_row, x_step, W, rows, inputs, columns, lanes, halved, far)
    elif width == 2 * lanes:
        add_panel(y, y_row, x, x_row, x_step, W, rows, inputs, columns, 2 * lanes, halved, far)
    elif width == 3 * lanes:
        add_panel(y, y_row, x, x_row, x_step, W, rows, inputs, columns, 3 * lanes, halved, far)
    elif PANEL_VECTORS > 2 and width == 4 * lanes:
        add_panel(y, y_row, x, x_row, x_step, W, rows, inputs, columns, 4 * lanes, halved, far)
    elif PANEL_VECTORS > 2:
        add_panel(y, y_row, x, x_row, x_step, W, rows, inputs, columns, 5 * lanes, halved, far)


cdef void add_product(
    real *y, Py_ssize_t y_row, const real *x, Py_ssize_t x_row, const real *W,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs, bint from_last,
) noexcept nogil:
    # y (rows, outputs) += x (rows, inputs) @ packed W (inputs, outputs); rows lie y_row and x_row
    # numbers apart. Panels are taken from the first to the last or, with from_last, the other way.
    cdef Py_ssize_t full = PANEL_VECTORS * VECTOR_BYTES // <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t size = inputs * outputs * <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t k, j, panels = panel_count(W, outputs)
    for k in range(panels):
        j = (panels - 1 - k if from_last else k) * full
        add_any_panel(y + j, y_row, x, x_row, 1, W + j * inputs, rows, inputs, outputs - j,
                      size <= NEAR_BYTES, size > FAR_BYTES)


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


cdef void pack_panels(
    real *packed, const real *W, Py_ssize_t W_row, Py_ssize_t W_column,
    Py_ssize_t inputs, Py_ssize_t outputs,
) noexcept nogil:
    # packed = W (inputs, outputs) in panels
    cdef Py_ssize_t j = 0, width
    while j < outputs:
        width = panel_width(packed, outputs - j)
        pack_panel(packed + j * inputs, W + j * W_column, W_row, W_column, inputs,
                   min(width, outputs - j), width)
        j += width


cdef inline void add_panel_gradients(
    real *dW, Py_ssize_t dW_row, const real *x, Py_ssize_t x_row, const real *dy,
    Py_ssize_t steps, Py_ssize_t inputs, Py_ssize_t columns,
) noexcept nogil:
    # dW (inputs, columns) += x (steps, inputs).T @ packed dy (steps, columns). Some columns of x
    # are copied together: apart, at a power of two, they would push each other out of the cache.
    cdef real few[GRADIENT_STEPS * GRADIENT_INPUTS]
    cdef Py_ssize_t n, i = 0
    while i < inputs:
        n = min(GRADIENT_INPUTS, inputs - i)
        copy_rows(few, GRADIENT_INPUTS, x + i, x_row, steps, n)
        add_any_panel(dW + i * dW_row, dW_row, few, 1, GRADIENT_INPUTS, dy, n, steps, columns,
                      False, False)
        i += n


cdef void add_outer_products(
    real *dW, Py_ssize_t dW_row, const real *x, Py_ssize_t x_row, const real *dy, Py_ssize_t dy_row,
    Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
) noexcept nogil:
    # dW (inputs, outputs) += x (rows, inputs).T @ dy (rows, outputs), some rows at a time: dy is
    # what is packed, unless it is one panel as it lies, and rows are what is summed over
    cdef char memory[(GRADIENT_STEPS * (PANEL_VECTORS + 1) + 1) * VECTOR_BYTES]
    cdef real *packed = <real *> (memory + VECTOR_BYTES - <size_t> &memory[0] % VECTOR_BYTES)
    cdef const real *panel
    cdef Py_ssize_t r, steps, width, j = 0
    while j < outputs:
        width = panel_width(packed, outputs - j)
        r = 0
        while r < rows:
            steps = min(GRADIENT_STEPS, rows - r)
            panel = dy + r * dy_row
            if width != dy_row or width != outputs:
                pack_panel(packed, panel + j, dy_row, 1, steps, min(width, outputs - j), width)
                panel = packed
            add_panel_gradients(dW + j, dW_row, x + r * x_row, x_row, panel, steps, inputs,
                                outputs - j)
            r += steps
        j += width


def pack(real[:, ::1] packed not None, const real[:, :] W not None):
    cdef Py_ssize_t inputs = W.shape[0], outputs = W.shape[1]
    if inputs and outputs:
        with nogil:
            pack_panels(&packed[0, 0], &W[0, 0], W.strides[0] // <Py_ssize_t> sizeof(real),
                        W.strides[1] // <Py_ssize_t> sizeof(real), inputs, outputs)
