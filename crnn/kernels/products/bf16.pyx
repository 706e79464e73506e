# Products of bfloat16, the upper half of a float: of W, which was rounded when the network was
# compressed, and rows of x, which are rounded when they are multiplied. Each number of y is
#
#     start + x[0] * W[0] + x[1] * W[1] + ...
#
# added up as floats in this order. A product of two such numbers is exact as a float (or, where it
# is not fused with its sum, infinite), so a sum is rounded once for each input, and has the same
# bits whether AVX-512 BF16 adds up two inputs at a time, the upper halves of two words first, or
# multiply-adds of floats do. That instruction takes what is below 2^-126 for 0. It never meets any:
# numbers of x and W below 2^-50 are rounded to 0, so that a product is 0 or at least 2^-100, and a
# start below 2^-126 is 0, too.
#
# W (inputs, outputs) lies in panels of words, a column's numbers of two inputs, a pair, in each,
# the first one in the upper half. Panels have four lines of 16 columns, or one of what is left:
#
#     panel (pairs, 4, 16) of words   ...   panel (pairs, 1, 16)   ...

from libc.stdint cimport uint32_t

cdef extern from *:
    """
    #include <float.h>
    #include <stdint.h>
    #if defined(__AVX2__)
    #include <immintrin.h>
    #endif
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

    /* Sums of some columns. add_pair adds, for each of them, the products of two inputs and its
       weights, a word at W, for which x has one word; or, unless by_bf16, the product of one of
       the two, for each of which x has a float. */
    #if defined(__AVX512F__)
    typedef __m512 PAIR_SUMS;
    #define PAIR_COLUMNS 16
    #define PAIR_ROWS 4                     /* of a tile: 16 sums of 32 registers */
    #define LEAST_PAIR_ROWS 2               /* fewer are multiplied one by one */
    #define PAIR_TILE_LINES 4
    #define PAIR_ROW_LINES 4                /* of a tile of a single row */
    #if defined(__clang__) || __GNUC__ > 9  /* assemblers of older ones do not know vdpbf16ps */
    #define CAN_USE_BF16 1
    #else
    #define CAN_USE_BF16 0
    #endif
    static inline PAIR_SUMS pair_sums_from(const float *start) {
        __m512 sums = _mm512_loadu_ps(start);
        return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(
            _mm512_abs_ps(sums), _mm512_set1_ps(FLT_MIN), _CMP_NLT_UQ), sums);
    }
    static inline PAIR_SUMS add_pair(PAIR_SUMS sums, const uint32_t *W, const uint32_t *x,
                                     int second, int by_bf16) {
        __m512i words = _mm512_loadu_si512(W), xs = _mm512_set1_epi32((int) x[second]);
    #if CAN_USE_BF16
        if (by_bf16) {                      /* which the flags of the build do not allow gcc */
            __asm__("vdpbf16ps %2, %1, %0" : "+v"(sums) : "v"(words), "v"(xs));
            return sums;
        }
    #endif
        words = second ? _mm512_slli_epi32(words, 16)
            : _mm512_and_si512(words, _mm512_set1_epi32((int) 0xffff0000));
        return _mm512_fmadd_ps(_mm512_castsi512_ps(xs), _mm512_castsi512_ps(words), sums);
    }
    static inline void store_pair_sums(float *to, PAIR_SUMS sums) { _mm512_storeu_ps(to, sums); }

    #elif defined(__AVX2__)
    typedef __m256 PAIR_SUMS;
    #define PAIR_COLUMNS 8
    #define PAIR_ROWS 4                     /* of a tile: 8 sums of 16 registers */
    #define LEAST_PAIR_ROWS 3               /* two would wait for each other's sums */
    #define PAIR_TILE_LINES 1
    #define PAIR_ROW_LINES 4
    #define CAN_USE_BF16 0
    static inline PAIR_SUMS pair_sums_from(const float *start) {
        __m256 sums = _mm256_loadu_ps(start);
        __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), sums);
        return _mm256_and_ps(_mm256_cmp_ps(size, _mm256_set1_ps(FLT_MIN), _CMP_NLT_UQ), sums);
    }
    static inline PAIR_SUMS add_pair(PAIR_SUMS sums, const uint32_t *W, const uint32_t *x,
                                     int second, int by_bf16) {
        __m256i words = _mm256_loadu_si256((const __m256i *) W);
        words = second ? _mm256_slli_epi32(words, 16)
            : _mm256_and_si256(words, _mm256_set1_epi32((int) 0xffff0000));
        return _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_set1_epi32((int) x[second])),
                               _mm256_castsi256_ps(words), sums);
    }
    static inline void store_pair_sums(float *to, PAIR_SUMS sums) { _mm256_storeu_ps(to, sums); }

    #else
    #if defined(__GNUC__)
    typedef float PAIR_SUMS __attribute__((vector_size(16)));
    #define OF(sums, j) (sums)[j]
    #else
    typedef struct { float of[4]; } PAIR_SUMS;
    #define OF(sums, j) (sums).of[j]
    #endif
    #define PAIR_COLUMNS 4
    #define CAN_USE_BF16 0
    #define PAIR_ROWS 2                     /* of a tile: 8 sums of 16 registers */
    #define LEAST_PAIR_ROWS 2
    #define PAIR_TILE_LINES 1
    #define PAIR_ROW_LINES 1
    static inline PAIR_SUMS pair_sums_from(const float *start) {
        PAIR_SUMS sums;
        for (int j = 0; j < 4; j++)
            OF(sums, j) = start[j] > -FLT_MIN && start[j] < FLT_MIN ? 0 : start[j];
        return sums;
    }
    static inline PAIR_SUMS add_pair(PAIR_SUMS sums, const uint32_t *W, const uint32_t *x,
                                     int second, int by_bf16) {
        for (int j = 0; j < 4; j++)
            OF(sums, j) += number_of(x[second])
                * number_of(second ? W[j] << 16 : W[j] & 0xffff0000);
        return sums;
    }
    static inline void store_pair_sums(float *to, PAIR_SUMS sums) {
        for (int j = 0; j < 4; j++)
            to[j] = OF(sums, j);
    }
    #endif
    #define PAIR_VECTORS (16 / PAIR_COLUMNS)
    """
    ctypedef struct PAIR_SUMS:
        pass
    enum:
        PAIR_COLUMNS                # of a register
        PAIR_VECTORS                # registers of a line
        PAIR_ROWS, LEAST_PAIR_ROWS  # of a tile of several rows, at most and at least
        PAIR_TILE_LINES, PAIR_ROW_LINES     # of a tile of several rows, and of one row
        CAN_USE_BF16                # where the processor has it
    PAIR_SUMS pair_sums_from(const float *start) noexcept nogil
    PAIR_SUMS add_pair(PAIR_SUMS, const uint32_t *, const uint32_t *, bint, bint) noexcept nogil
    void store_pair_sums(float *to, PAIR_SUMS) noexcept nogil
    float number_of(uint32_t bits) noexcept nogil
    uint32_t bits_of(float number) noexcept nogil

cdef enum:
    UPPER_HALF = 0xffff0000                 # of a word
    SIGN = 0x80000000
    INFINITY_BITS = 0x7f800000              # beyond them are those of NaN
    QUIET = 0x00400000                      # of a NaN, which is none without
    SMALLEST_BITS = 0x26800000              # 2^-50
    PAIR_LINES = 4                          # of a panel
    PAIR_WIDTH = PAIR_LINES * LINE_COLUMNS
    ROUNDED_ROWS = 32                       # that are multiplied with a panel one after the other
    ROUNDED_WORDS = 8192                    # room for them: 32 KiB

cdef bint multiplies_by_bf16 = CAN_USE_BF16 and has_bf16()


def _multiply_bf16_as_if(bint by_bf16):
    """Multiply as on another processor, for tests; return what held before."""
    global multiplies_by_bf16
    before = multiplies_by_bf16
    multiplies_by_bf16 = by_bf16 and CAN_USE_BF16 and has_bf16()
    return before


cdef void pack_bf16(
    uint32_t *packed, const real *W, Py_ssize_t W_row, Py_ssize_t W_column, Py_ssize_t inputs,
    Py_ssize_t outputs,
) noexcept nogil:
    # packed = W (inputs, outputs), whose numbers are bfloat16, in panels; see pack_panels
    cdef Py_ssize_t i, j, k, start, width, pairs = (inputs + 1) // 2
    cdef uint32_t bits
    cdef uint32_t *panel
    for k in range(line_panel_count(outputs, PAIR_LINES)):
        start = line_panel_start(k, outputs, PAIR_LINES)
        width = lines_of(outputs - start, PAIR_LINES) * LINE_COLUMNS
        panel = packed + start * pairs
        memset(panel, 0, pairs * width * sizeof(uint32_t))
        for i in range(inputs):
            for j in range(min(width, outputs - start)):
                bits = bits_of(<float> W[i * W_row + (start + j) * W_column])
                panel[i // 2 * width + j] |= bits >> 16 if i % 2 else bits & UPPER_HALF


# --- rows of x -----------------------------------------------------------------------------------

cdef inline uint32_t rounded_bits(float x) noexcept nogil:
    # x rounded to bfloat16, to the nearest or, of two, that whose last bit is 0
    cdef uint32_t bits = bits_of(x), size = bits & ~<uint32_t> SIGN
    cdef uint32_t found = (bits + 0x7fff + ((bits >> 16) & 1)) & UPPER_HALF
    found = bits & SIGN if size < SMALLEST_BITS else found
    return (bits | QUIET) & UPPER_HALF if size > INFINITY_BITS else found


cdef void round_row(
    uint32_t *words, const real *x, Py_ssize_t inputs, bint by_bf16
) noexcept nogil:
    # x (inputs,), whose last pair may lack a number, as add_pair takes it
    cdef Py_ssize_t i, n = inputs // 2
    if by_bf16:
        for i in range(n):
            words[i] = rounded_bits(<float> x[2 * i]) | rounded_bits(<float> x[2 * i + 1]) >> 16
        if inputs % 2:
            words[n] = rounded_bits(<float> x[inputs - 1])
    else:
        for i in range(inputs):
            words[i] = rounded_bits(<float> x[i])
        if inputs % 2:
            words[inputs] = 0


# --- products ------------------------------------------------------------------------------------

cdef inline inlined_void pairs_tile(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const uint32_t *x,
    Py_ssize_t x_row, const uint32_t *W, Py_ssize_t width, Py_ssize_t pairs, Py_ssize_t rows,
    Py_ssize_t lines, bint by_bf16,
) noexcept nogil:
    # y (rows, lines * 16) = start + x (rows, pairs) @ some lines of a panel W (pairs, width); as
    # many rows and lines as the compiler knows
    cdef Py_ssize_t i, line, v, k, second, p = 0, n = lines * PAIR_VECTORS
    cdef Py_ssize_t x_words = 1 if by_bf16 else 2
    cdef PAIR_SUMS sums[PAIR_ROWS * PAIR_LINES * PAIR_VECTORS]
    for i in range(rows):
        for v in range(n):
            sums[i * n + v] = pair_sums_from(
                <const float *> (start + i * start_row + v * PAIR_COLUMNS))
    while True:             # at least one pair, or the sums would go through memory
        for line in range(lines):
            for second in range(1 if by_bf16 else 2):
                for i in range(rows):
                    for v in range(PAIR_VECTORS):
                        k = line * PAIR_VECTORS + v
                        sums[i * n + k] = add_pair(
                            sums[i * n + k], W + p * width + k * PAIR_COLUMNS,
                            x + i * x_row + p * x_words, second, by_bf16)
        p += 1
        if p == pairs:
            break
    for i in range(rows):
        for v in range(n):
            store_pair_sums(<float *> (y + i * y_row + v * PAIR_COLUMNS), sums[i * n + v])


cdef inline inlined_void pairs_rows(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const uint32_t *x,
    Py_ssize_t x_row, const uint32_t *W, Py_ssize_t width, Py_ssize_t pairs, Py_ssize_t rows,
    Py_ssize_t lines, bint by_bf16,
) noexcept nogil:
    # pairs_tile of one row, or of LEAST_PAIR_ROWS to 4
    if rows == 1:
        pairs_tile(y, y_row, start, start_row, x, x_row, W, width, pairs, 1, lines, by_bf16)
    elif lines > PAIR_TILE_LINES:
        return              # there is no such tile
    elif rows == 2 and LEAST_PAIR_ROWS == 2:
        pairs_tile(y, y_row, start, start_row, x, x_row, W, width, pairs, 2, lines, by_bf16)
    elif PAIR_ROWS == 2:
        return
    elif rows == 3:
        pairs_tile(y, y_row, start, start_row, x, x_row, W, width, pairs, 3, lines, by_bf16)
    else:
        pairs_tile(y, y_row, start, start_row, x, x_row, W, width, pairs, 4, lines, by_bf16)


cdef inline inlined_void pairs_lines(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const uint32_t *x,
    Py_ssize_t x_row, const uint32_t *W, Py_ssize_t pairs, Py_ssize_t rows, Py_ssize_t lines,
    bint by_bf16,
) noexcept nogil:
    # y (rows, lines * 16) = start + x (rows, pairs) @ a panel W (pairs, lines, 16), of
    # as many rows as pairs_rows takes
    cdef Py_ssize_t line, j, width = lines * LINE_COLUMNS
    if lines == PAIR_LINES == (PAIR_ROW_LINES if rows == 1 else PAIR_TILE_LINES):
        pairs_rows(y, y_row, start, start_row, x, x_row, W, width, pairs, rows, PAIR_LINES, by_bf16)
        return
    for line in range(lines):
        j = line * LINE_COLUMNS
        pairs_rows(y + j, y_row, start + j, start_row, x, x_row, W + j, width, pairs, rows, 1,
                   by_bf16)


cdef inline inlined_void pairs_panel(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const uint32_t *x,
    Py_ssize_t x_row, const uint32_t *W, Py_ssize_t pairs, Py_ssize_t rows, Py_ssize_t columns,
    bint by_bf16,
) noexcept nogil:
    # y (rows, columns) = start + x (rows, pairs) @ a panel W that has these columns; where they are
    # fewer than it has, in memory that is as wide
    cdef real edge[PAIR_ROWS * PAIR_WIDTH]
    cdef Py_ssize_t n, r = 0, lines = lines_of(columns, PAIR_LINES)
    cdef bint has_edge = columns < lines * LINE_COLUMNS
    cdef real *to
    cdef const real *begin
    while r < rows:
        n = min(PAIR_ROWS, rows - r)
        n = 1 if n < LEAST_PAIR_ROWS else n
        to, begin = y + r * y_row, start + r * start_row
        if has_edge:
            memset(edge, 0, sizeof(edge))
            copy_rows(edge, PAIR_WIDTH, begin, start_row, n, columns)
            to = edge
            begin = edge
        pairs_lines(to, PAIR_WIDTH if has_edge else y_row, begin,
                    PAIR_WIDTH if has_edge else start_row, x + r * x_row, x_row, W, pairs, n, lines,
                    by_bf16)
        if has_edge:
            copy_rows(y + r * y_row, y_row, edge, PAIR_WIDTH, n, columns)
        r += n


cdef inline inlined_void round_and_multiply(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const uint32_t *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
    bint from_last, bint by_bf16,
) noexcept nogil:
    # product_bf16 of up to ROUNDED_ROWS rows: of as many pairs at a time as there is room for; sums
    # go on where those of the pairs before have ended
    cdef uint32_t words[ROUNDED_WORDS]
    cdef Py_ssize_t k, r, j, n, width, at = 0, all_pairs = (inputs + 1) // 2
    cdef Py_ssize_t x_words = 1 if by_bf16 else 2, most = ROUNDED_WORDS // (rows * x_words)
    cdef Py_ssize_t panels = line_panel_count(outputs, PAIR_LINES)
    while at < all_pairs:
        n = min(most, all_pairs - at)
        for r in range(rows):
            round_row(words + r * n * x_words, x + r * x_row + 2 * at, min(2 * n, inputs - 2 * at),
                      by_bf16)
        for k in range(panels):
            j = line_panel_start(panels - 1 - k if from_last else k, outputs, PAIR_LINES)
            width = lines_of(outputs - j, PAIR_LINES) * LINE_COLUMNS
            pairs_panel(y + j, y_row, start + j, start_row, words, n * x_words,
                        W + j * all_pairs + at * width, n, rows, min(width, outputs - j), by_bf16)
        start, start_row, at = y, y_row, at + n


cdef outlined_void product_bf16(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const uint32_t *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
    bint from_last,
) noexcept nogil:
    # as product, of a W that pack_bf16 has packed
    cdef Py_ssize_t n, done = 0
    while done < rows:
        n = min(ROUNDED_ROWS, rows - done)
        if CAN_USE_BF16 and multiplies_by_bf16:     # which other builds have no code for
            round_and_multiply(y + done * y_row, y_row, start + done * start_row, start_row,
                               x + done * x_row, x_row, W, n, inputs, outputs, from_last, True)
        else:
            round_and_multiply(y + done * y_row, y_row, start + done * start_row, start_row,
                               x + done * x_row, x_row, W, n, inputs, outputs, from_last, False)
        done += n
