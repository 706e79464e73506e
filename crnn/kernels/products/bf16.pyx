# Products with weights that were rounded to bfloat16, the upper half of a float: half the memory to
# read. Each is widened in a register on its way into the sum, so that sums are those of the same
# numbers as floats, bit for bit. W (inputs, outputs) lies in panels of pairs of vectors:
#
#     panel 0 (inputs, PAIRS, VECTOR) of words      ...      last panel (inputs, 1 to PAIRS, VECTOR)
#
# The lower half of a word is a number of the pair's first vector, the upper half of its second one:
# to widen them takes one instruction each, where numbers side by side would take two.

from libc.stdint cimport uint32_t

cdef extern from *:
    """
    /* columns whose sums a single row keeps in registers, in pairs of vectors; and tiles of rows */
    #define PAIRS 4
    #if defined(__AVX512F__)
    #define TILE_PAIRS 2
    #else
    #define TILE_PAIRS 1
    #endif
    #define PAIR (2 * VECTOR)
    static inline float number_of(uint32_t bits) {
        union {uint32_t bits; float number;} both;
        both.bits = bits;
        return both.number;
    }
    static inline uint32_t bits_of(float number) {
        union {uint32_t bits; float number;} both;
        both.number = number;
        return both.bits;
    }
    """
    enum:
        PAIRS                       # of vectors in all panels but the last
        TILE_PAIRS                  # of which several rows are added up at once
    const Py_ssize_t PAIR           # columns of two vectors
    float number_of(uint32_t bits) noexcept nogil
    uint32_t bits_of(float number) noexcept nogil

cdef enum:
    UPPER_HALF = 0xffff0000         # of a word
    WIDEST_PAIRS = 128              # columns of a row's sums: eight registers of 16 floats


cdef void pack_bf16(
    uint32_t *packed, const real *W, Py_ssize_t W_row, Py_ssize_t W_column, Py_ssize_t inputs,
    Py_ssize_t outputs,
) noexcept nogil:
    # packed = W (inputs, outputs), whose numbers are bfloat16, in panels; see pack_panels
    cdef Py_ssize_t i, j, k, pairs, first = 0
    cdef uint32_t bits
    while first < outputs:
        pairs = min(PAIRS, (outputs - first + PAIR - 1) // PAIR)
        memset(packed, 0, inputs * pairs * VECTOR * sizeof(uint32_t))
        for i in range(inputs):
            for j in range(min(pairs * PAIR, outputs - first)):
                bits = bits_of(<float> W[i * W_row + (first + j) * W_column])
                k = (i * pairs + j // PAIR) * VECTOR + j % VECTOR
                if j % PAIR < VECTOR:
                    packed[k] |= bits >> 16
                else:
                    packed[k] |= bits & UPPER_HALF
        packed, first = packed + inputs * pairs * VECTOR, first + pairs * PAIR


cdef inline inlined_void add_scaled_pair(real *y, real x, const uint32_t *W) noexcept nogil:
    # y (2, VECTOR) += x * W (VECTOR,) of words
    cdef Py_ssize_t j
    for j in range(VECTOR):
        y[j] = multiply_add(x, <real> number_of(W[j] << 16), y[j])
    for j in range(VECTOR):
        y[VECTOR + j] = multiply_add(x, <real> number_of(W[j] & UPPER_HALF), y[VECTOR + j])


cdef inline inlined_void add_scaled_pairs(
    real *y, real x, const uint32_t *W, Py_ssize_t pairs
) noexcept nogil:
    # y (pairs, 2, VECTOR) += x * W (pairs, VECTOR) of words, 1, 2 or 4 pairs
    add_scaled_pair(y, x, W)
    if pairs > 1:
        add_scaled_pair(y + PAIR, x, W + VECTOR)
    if pairs > 2:
        add_scaled_pair(y + 2 * PAIR, x, W + 2 * VECTOR)
        add_scaled_pair(y + 3 * PAIR, x, W + 3 * VECTOR)


cdef inline inlined_void end_pairs(
    real *y, const real *start, const real *sums, Py_ssize_t pairs
) noexcept nogil:
    # y (pairs * PAIR,) = start + sums, 1, 2 or 4 pairs
    end_row(y, start, sums, sums, PAIR, False)
    if pairs > 1:
        end_row(y + PAIR, start + PAIR, sums + PAIR, sums, PAIR, False)
    if pairs > 2:
        end_row(y + 2 * PAIR, start + 2 * PAIR, sums + 2 * PAIR, sums, PAIR, False)
        end_row(y + 3 * PAIR, start + 3 * PAIR, sums + 3 * PAIR, sums, PAIR, False)


cdef inline inlined_void tile_of_pairs(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const uint32_t *W, Py_ssize_t W_row, Py_ssize_t inputs, Py_ssize_t rows,
    Py_ssize_t pairs,
) noexcept nogil:
    # y (rows, pairs * PAIR) = start + x (rows, inputs) @ W (inputs, pairs, VECTOR) of words, whose
    # rows lie W_row apart; of 1 to 4 rows, as many as the compiler knows, as in tile
    cdef Py_ssize_t j, i = 0, width = pairs * PAIR
    cdef real s0[WIDEST_PAIRS]
    cdef real s1[WIDEST_PAIRS]
    cdef real s2[WIDEST_PAIRS]
    cdef real s3[WIDEST_PAIRS]
    for j in range(width):
        s0[j] = s1[j] = s2[j] = s3[j] = 0
    while True:
        add_scaled_pairs(s0, x[i], W + i * W_row, pairs)
        if rows > 1:
            add_scaled_pairs(s1, x[x_row + i], W + i * W_row, pairs)
        if rows > 2:
            add_scaled_pairs(s2, x[2 * x_row + i], W + i * W_row, pairs)
        if rows > 3:
            add_scaled_pairs(s3, x[3 * x_row + i], W + i * W_row, pairs)
        i += 1
        if i == inputs:
            break
    end_pairs(y, start, s0, pairs)
    if rows > 1:
        end_pairs(y + y_row, start + start_row, s1, pairs)
    if rows > 2:
        end_pairs(y + 2 * y_row, start + 2 * start_row, s2, pairs)
    if rows > 3:
        end_pairs(y + 3 * y_row, start + 3 * start_row, s3, pairs)


cdef void some_pairs(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const uint32_t *W, Py_ssize_t W_row, Py_ssize_t inputs, Py_ssize_t rows,
    Py_ssize_t pairs,
) noexcept nogil:
    # tile_of_pairs with sizes that are known where it is compiled: of one row, 1, 2 or 4 pairs, of
    # several 1 or TILE_PAIRS
    if rows == 1 and pairs == 1:
        tile_of_pairs(y, y_row, start, start_row, x, x_row, W, W_row, inputs, 1, 1)
    elif rows == 1 and pairs == 2:
        tile_of_pairs(y, y_row, start, start_row, x, x_row, W, W_row, inputs, 1, 2)
    elif rows == 1:
        tile_of_pairs(y, y_row, start, start_row, x, x_row, W, W_row, inputs, 1, 4)
    elif TILE_PAIRS == 2 and pairs == 2:
        if rows == 2:
            tile_of_pairs(y, y_row, start, start_row, x, x_row, W, W_row, inputs, 2, 2)
        elif rows == 3:
            tile_of_pairs(y, y_row, start, start_row, x, x_row, W, W_row, inputs, 3, 2)
        else:
            tile_of_pairs(y, y_row, start, start_row, x, x_row, W, W_row, inputs, 4, 2)
    elif rows == 2:
        tile_of_pairs(y, y_row, start, start_row, x, x_row, W, W_row, inputs, 2, 1)
    elif rows == 3:
        tile_of_pairs(y, y_row, start, start_row, x, x_row, W, W_row, inputs, 3, 1)
    else:
        tile_of_pairs(y, y_row, start, start_row, x, x_row, W, W_row, inputs, 4, 1)


cdef void edge_of_pairs(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const uint32_t *W, Py_ssize_t W_row, Py_ssize_t inputs, Py_ssize_t rows,
    Py_ssize_t pairs, Py_ssize_t columns,
) noexcept nogil:
    # some_pairs of which y has fewer columns, in memory that is as wide as they are
    cdef real edge[TILE_ROWS * WIDEST_PAIRS]
    memset(edge, 0, rows * WIDEST_PAIRS * sizeof(real))
    copy_rows(edge, WIDEST_PAIRS, start, start_row, rows, columns)
    some_pairs(edge, WIDEST_PAIRS, edge, WIDEST_PAIRS, x, x_row, W, W_row, inputs, rows, pairs)
    copy_rows(y, y_row, edge, WIDEST_PAIRS, rows, columns)


cdef void panel_of_pairs(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const uint32_t *W, Py_ssize_t inputs, Py_ssize_t rows, Py_ssize_t columns,
) noexcept nogil:
    # y (rows, columns) = start + x (rows, inputs) @ the panel W that has these columns; 1 to 4 rows
    cdef Py_ssize_t n = PAIRS if rows == 1 else TILE_PAIRS, at = 0
    cdef Py_ssize_t left = (columns + PAIR - 1) // PAIR, W_row = left * VECTOR
    while left:
        while n > left:
            n //= 2
        if n * PAIR <= columns - at:
            some_pairs(y + at, y_row, start + at, start_row, x, x_row, W, W_row, inputs, rows, n)
        else:
            edge_of_pairs(y + at, y_row, start + at, start_row, x, x_row, W, W_row, inputs, rows,
                          n, columns - at)
        W, at, left = W + n * VECTOR, at + n * PAIR, left - n


cdef void product_bf16(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const uint32_t *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
    bint from_last,
) noexcept nogil:
    # y (rows, outputs) = start + x (rows, inputs) @ W (inputs, outputs); see product
    cdef Py_ssize_t k, j, r, width = PAIRS * PAIR, panels = (outputs + width - 1) // width
    for k in range(panels):
        j = (panels - 1 - k if from_last else k) * width
        r = 0
        while r < rows:
            panel_of_pairs(y + r * y_row + j, y_row, start + r * start_row + j, start_row,
                           x + r * x_row, x_row, W + j * inputs // 2, inputs,
                           min(TILE_ROWS, rows - r), min(width, outputs - j))
            r += TILE_ROWS
