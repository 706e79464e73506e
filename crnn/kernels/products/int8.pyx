# Products of whole numbers: of W, packed as int8 with a scale for each column, and rows of x, which
# are rounded to int8 with a scale each when they are multiplied.
#
#     W[i, j] = scale_W[j] * q_W[i, j]        scale_W[j] = max |W[:, j]| / 127, of 16 bits
#     x[r, i] ~ scale_x[r] * q_x[r, i]        scale_x[r] = max |x[r]| / 127
#     y[r, j] = start[r, j] + scale_x[r] * scale_W[j] * (q_x @ q_W)[r, j]
#
# Sums are exact: they depend neither on their order nor on the instruction set. The scale of what
# has a number that is not finite is NaN; of zeros it is 0.
#
# W (inputs, outputs) lies in panels of as many columns as a tile of sums in registers, and what is
# left in panels of 16. Each is a line of 64 bytes for every 16 columns, of their scales, and then
# such lines for every 4 inputs, a group:
#
#     panel (1 + groups, lines, 64)   ...   panel (1 + groups, 1, 64)   ...
#
# Processors multiply bytes of which one has a sign and the other has none, and add up neighbours:
# a line has the 4 weights of a column, then those of the next one.
#
# - AVX-512 VNNI adds up four. W is shifted to q_W + 128 on the way, so that sums begin with -128
#   times the sum of q_x.
# - AVX2 and AVX-512 without it add two in 16 bits, which 2 * 127 * 128 does not exceed: |q_x| is
#   multiplied with q_W where q_x >= 0, else with the complement -q_W - 1, so that sums begin with
#   the sum of those |q_x|. (With vpsignb, which turns signs, it took a third longer: Zen 4.)
# - Elsewhere a line has the weights of an input for all columns, then those of the next one.

from libc.float cimport FLT_MAX
from libc.math cimport NAN
from libc.stdint cimport int8_t, int32_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #include <string.h>
    #if defined(__AVX2__)
    #include <immintrin.h>
    #endif

    /* Sums of some columns. dots_with adds, for each of them, the dot product of a group of inputs,
       4 bytes x, and its weights at `line`, of which the bits `flips` are turned round unless there
       is VNNI. */
    #if defined(__AVX512BW__)
    typedef __m512i DOT_VECTOR;
    #define DOT_VECTOR_COLUMNS 16
    #define DOT_ROWS 4                      /* of a tile of 16 sums: 32 registers */
    #define DOT_LINES 4
    #define CAN_USE_VNNI 1
    static inline DOT_VECTOR dots_from(int32_t n) { return _mm512_set1_epi32(n); }
    static inline DOT_VECTOR dots_with(DOT_VECTOR sums, const int8_t *line, int32_t x,
                                       int32_t flips, int by_vnni) {
        __m512i W = _mm512_loadu_si512(line), xs = _mm512_set1_epi32(x), pairs;
        if (by_vnni) {                     /* which the flags of the build do not allow gcc */
            W = _mm512_xor_si512(W, _mm512_set1_epi8(-128));
            __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(W), "v"(xs));
            return sums;
        }
        pairs = _mm512_maddubs_epi16(xs, _mm512_xor_si512(W, _mm512_set1_epi32(flips)));
        return _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
    }
    static inline void store_dots(int32_t *to, DOT_VECTOR sums) { _mm512_storeu_si512(to, sums); }

    #elif defined(__AVX2__)
    typedef __m256i DOT_VECTOR;
    #define DOT_VECTOR_COLUMNS 8
    #define DOT_ROWS 2                      /* of a tile of 8 sums: 16 registers */
    #define DOT_LINES 2
    #define CAN_USE_VNNI 0
    static inline DOT_VECTOR dots_from(int32_t n) { return _mm256_set1_epi32(n); }
    static inline DOT_VECTOR dots_with(DOT_VECTOR sums, const int8_t *line, int32_t x,
                                       int32_t flips, int by_vnni) {
        __m256i W = _mm256_loadu_si256((const __m256i *) line), pairs;
        pairs = _mm256_maddubs_epi16(_mm256_set1_epi32(x),
                                     _mm256_xor_si256(W, _mm256_set1_epi32(flips)));
        return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    static inline void store_dots(int32_t *to, DOT_VECTOR sums) {
        _mm256_storeu_si256((__m256i *) to, sums);
    }

    #else
    typedef struct { int32_t of[16]; } DOT_VECTOR;
    #define DOT_VECTOR_COLUMNS 16
    #define DOT_ROWS 1
    #define DOT_LINES 1
    #define CAN_USE_VNNI 0
    static inline DOT_VECTOR dots_from(int32_t n) {
        DOT_VECTOR sums;
        for (int j = 0; j < 16; j++)
            sums.of[j] = n;
        return sums;
    }
    static inline DOT_VECTOR dots_with(DOT_VECTOR sums, const int8_t *line, int32_t x,
                                       int32_t flips, int by_vnni) {
        int8_t xs[4];
        memcpy(xs, &x, 4);
        for (int j = 0; j < 16; j++) {      /* two products are within 16 bits */
            int16_t first = (int16_t) (xs[0] * line[j] + xs[1] * line[16 + j]);
            int16_t second = (int16_t) (xs[2] * line[32 + j] + xs[3] * line[48 + j]);
            sums.of[j] += first + second;
        }
        return sums;
    }
    static inline void store_dots(int32_t *to, DOT_VECTOR sums) { memcpy(to, sums.of, 64); }
    #endif
    #define DOT_VECTORS (16 / DOT_VECTOR_COLUMNS)
    #if defined(__AVX2__)
    #define DOTS_IN_PAIRS 1
    #define NEXT_INPUT 1
    #define NEXT_COLUMN 4
    #else
    #define DOTS_IN_PAIRS 0
    #define NEXT_INPUT 16
    #define NEXT_COLUMN 1
    #endif
    """
    ctypedef struct DOT_VECTOR:
        pass
    enum:
        DOT_VECTOR_COLUMNS          # of a register
        DOT_VECTORS                 # registers of a line
        DOT_ROWS                    # of a tile
        DOT_LINES                   # of a panel, for a group of inputs: those of a tile
        CAN_USE_VNNI                # where the processor has it
        DOTS_IN_PAIRS               # whether, without VNNI, bytes are added up in pairs
        NEXT_INPUT, NEXT_COLUMN     # how far apart the weights of a line are
    DOT_VECTOR dots_from(int32_t n) noexcept nogil
    DOT_VECTOR dots_with(DOT_VECTOR, const int8_t *, int32_t, int32_t, bint) noexcept nogil
    void store_dots(int32_t *to, DOT_VECTOR sums) noexcept nogil

cdef enum:
    GROUP = 4                               # inputs
    LINE = GROUP * LINE_COLUMNS             # bytes: weights of a group, or scales

cdef bint multiplies_by_vnni = CAN_USE_VNNI and has_vnni()


def _multiply_as_if(bint by_vnni):
    """Multiply as on another processor, for tests; return what held before."""
    global multiplies_by_vnni
    before = multiplies_by_vnni
    multiplies_by_vnni = by_vnni and CAN_USE_VNNI and has_vnni()
    return before


cdef inline Py_ssize_t int8_bytes(Py_ssize_t inputs, Py_ssize_t outputs) noexcept nogil:
    # of a packed W (inputs, outputs); of all panels before that which begins with column `outputs`
    return ((outputs + LINE_COLUMNS - 1) // LINE_COLUMNS * LINE
            * (1 + (inputs + GROUP - 1) // GROUP))


# --- from floats to whole numbers ----------------------------------------------------------------

cdef inline int32_t magnitude_bits(float x) noexcept nogil:
    # they grow with |x|; those of infinity are beyond all numbers', and those of NaN beyond these
    return <int32_t> (bits_of(x) & 0x7fffffff)


cdef inline float int8_scale(int32_t largest, bint of_weights) noexcept nogil:
    # of numbers, of the bits of the largest: 0 of those so small that it might have no reciprocal,
    # and NaN if one of them is not finite. One of weights has 16 bits, rounded up, so that its
    # multiples by up to 127 are exact.
    cdef float scale
    if largest > magnitude_bits(FLT_MAX):
        return <float> NAN
    if number_of(largest) < <float> 7.888609e-31:          # 2^-100
        return 0
    scale = number_of(largest) / <float> 127
    if of_weights:
        scale = number_of((bits_of(scale) + 0xff) & <uint32_t> 0xffffff00)
    return scale


cdef inline float int8_factor(float scale) noexcept nogil:
    # what numbers of this scale are multiplied with before they are rounded
    return <float> 1 / scale if scale > 0 else <float> 0


cdef inline int32_t rounded(float x) noexcept nogil:
    # to the nearest whole number or, of two, the even one; |x| < 2^22
    cdef float shifted = x + <float> 12582912.0         # 1.5 * 2^23
    return <int32_t> (shifted - <float> 12582912.0)


cdef void pack_int8_column(
    int8_t *panel, Py_ssize_t lines, Py_ssize_t j, const real *W, Py_ssize_t W_row,
    Py_ssize_t inputs,
) noexcept nogil:
    # column j of a panel, of W (inputs,), whose numbers lie W_row apart
    cdef Py_ssize_t i
    cdef int32_t largest = 0
    cdef float scale, factor
    cdef int8_t *packed = panel + (lines + j // LINE_COLUMNS) * LINE
    for i in range(inputs):
        largest = max(largest, magnitude_bits(<float> W[i * W_row]))
    packed = packed + j % LINE_COLUMNS * NEXT_COLUMN
    scale = (<float *> panel)[j] = int8_scale(largest, True)
    factor = int8_factor(scale)
    if factor > 0:
        for i in range(inputs):
            packed[i // GROUP * lines * LINE + i % GROUP * NEXT_INPUT] = <int8_t> (
                rounded(<float> W[i * W_row] * factor))


cdef void pack_int8(
    int8_t *packed, const real *W, Py_ssize_t W_row, Py_ssize_t W_column, Py_ssize_t inputs,
    Py_ssize_t outputs,
) noexcept nogil:
    # packed = W (inputs, outputs) in panels; W[i, j] lies at W[i * W_row + j * W_column]
    cdef Py_ssize_t k, j, start, lines
    memset(packed, 0, int8_bytes(inputs, outputs))
    for k in range(line_panel_count(outputs, DOT_LINES)):
        start = line_panel_start(k, outputs, DOT_LINES)
        lines = lines_of(outputs - start, DOT_LINES)
        for j in range(start, min(outputs, start + lines * LINE_COLUMNS)):
            pack_int8_column(packed + int8_bytes(inputs, start),
                             lines, j - start,
                             W + j * W_column, W_row, inputs)


cdef struct WholeRows:          # some rows of x as whole numbers
    int8_t *numbers             # (rows, row): whole numbers or, in pairs, their magnitudes and
    #                             then the flips of W for them
    Py_ssize_t row, groups      # bytes; groups of inputs
    float *scales               # (rows,)
    int32_t *starts             # (rows,): what sums begin with


cdef inline Py_ssize_t whole_row_bytes(Py_ssize_t groups, bint by_vnni) noexcept nogil:
    # an odd number of cache lines, or rows would push each other out of L1
    cdef Py_ssize_t size = GROUP * groups * (2 if DOTS_IN_PAIRS and not by_vnni else 1)
    return (size + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE | CACHE_LINE


cdef void make_whole(
    const WholeRows *rows, Py_ssize_t r, const real *x, Py_ssize_t inputs, bint by_vnni
) noexcept nogil:
    # row r of the rows, of x (inputs,)
    cdef Py_ssize_t i, padded = rows.groups * GROUP
    cdef int8_t *numbers = rows.numbers + r * rows.row
    cdef int8_t *flips = numbers + padded
    cdef int32_t number, largest = 0, total = 0
    cdef float factor
    for i in range(inputs):
        largest = max(largest, magnitude_bits(<float> x[i]))
    rows.scales[r], rows.starts[r] = int8_scale(largest, False), 0
    factor = int8_factor(rows.scales[r])
    memset(numbers, 0, rows.row)
    if not factor > 0:
        return
    for i in range(inputs):
        numbers[i] = <int8_t> rounded(<float> x[i] * factor)
    if by_vnni:
        for i in range(inputs):
            total -= numbers[i]
        rows.starts[r] = 128 * total
    elif DOTS_IN_PAIRS:
        for i in range(inputs):
            number = numbers[i]
            flips[i] = <int8_t> (number >> 31)
            numbers[i] = <int8_t> (-number if number < 0 else number)
            total += -number if number < 0 else 0
        rows.starts[r] = total


# --- products ------------------------------------------------------------------------------------

cdef inline int32_t group_of(const int8_t *numbers, Py_ssize_t g) noexcept nogil:
    # the bytes of a group
    cdef int32_t group
    memcpy(&group, numbers + g * GROUP, GROUP)
    return group


cdef inline inlined_void add_group(
    DOT_VECTOR *sums, const WholeRows *rows, Py_ssize_t r, const int8_t *W, Py_ssize_t g,
    Py_ssize_t lines, bint by_vnni,
) noexcept nogil:
    # sums += what a group of inputs of row r adds; its weights are some lines
    cdef Py_ssize_t v
    cdef const int8_t *numbers = rows.numbers + r * rows.row
    cdef int32_t x = group_of(numbers, g), flips = 0
    if DOTS_IN_PAIRS and not by_vnni:
        flips = group_of(numbers + rows.groups * GROUP, g)
    for v in range(lines * DOT_VECTORS):
        sums[v] = dots_with(sums[v], W + v * (LINE // DOT_VECTORS), x, flips, by_vnni)


cdef outlined_void end_edge(
    real *y, const real *start, const int32_t *whole, float scale, const float *scales,
    Py_ssize_t columns,
) noexcept nogil:
    # as end_dots, of fewer columns than a line has
    cdef Py_ssize_t j
    for j in range(columns):
        y[j] = multiply_add(<real> whole[j], scale * scales[j], start[j])


cdef inline inlined_void end_dots(
    real *y, const real *start, const DOT_VECTOR *sums, float scale, const float *scales,
    Py_ssize_t columns,
) noexcept nogil:
    # y (min(columns, 16),) = start + scale * scales * sums
    cdef Py_ssize_t j, v
    cdef int32_t whole[LINE_COLUMNS]
    cdef real total[LINE_COLUMNS]
    for v in range(DOT_VECTORS):
        store_dots(whole + v * DOT_VECTOR_COLUMNS, sums[v])
    if columns < LINE_COLUMNS:
        end_edge(y, start, whole, scale, scales, columns)
        return
    copy(total, start, LINE_COLUMNS)
    for j in range(LINE_COLUMNS):
        total[j] = multiply_add(<real> whole[j], scale * scales[j], total[j])
    copy(y, total, LINE_COLUMNS)


cdef inline inlined_void dots_tile(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const WholeRows *rows,
    Py_ssize_t r, Py_ssize_t n, const int8_t *panel, Py_ssize_t lines, Py_ssize_t columns,
    bint by_vnni,
) noexcept nogil:
    # y (n, columns) = start + rows r to r + n - 1 @ a panel, so many lines wide
    cdef Py_ssize_t i, k, v, g = 0, n_vectors = lines * DOT_VECTORS
    cdef DOT_VECTOR sums[DOT_ROWS * DOT_LINES * DOT_VECTORS]
    for i in range(n):
        for v in range(n_vectors):
            sums[i * n_vectors + v] = dots_from(rows.starts[r + i])
    while True:             # at least one group, or the sums would go through memory
        for i in range(n):
            add_group(sums + i * n_vectors, rows, r + i, panel + (1 + g) * lines * LINE, g, lines,
                      by_vnni)
        g += 1
        if g == rows.groups:
            break
    for i in range(n):
        for k in range(lines):
            end_dots(y + i * y_row + k * LINE_COLUMNS, start + i * start_row + k * LINE_COLUMNS,
                     sums + i * n_vectors + k * DOT_VECTORS, rows.scales[r + i],
                     <const float *> panel + k * LINE_COLUMNS, columns - k * LINE_COLUMNS)


cdef inline inlined_void dots_panel(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const WholeRows *rows,
    Py_ssize_t n, const int8_t *panel, Py_ssize_t lines, Py_ssize_t columns, bint by_vnni,
) noexcept nogil:
    # y (n, columns) = start + n rows @ a panel, tile after tile
    cdef Py_ssize_t r = 0
    while r + DOT_ROWS <= n:
        dots_tile(y + r * y_row, y_row, start + r * start_row, start_row, rows, r, DOT_ROWS, panel,
                  lines, columns, by_vnni)
        r += DOT_ROWS
    y, start = y + r * y_row, start + r * start_row
    if DOT_ROWS > 3 and n - r == 3:
        dots_tile(y, y_row, start, start_row, rows, r, 3, panel, lines, columns, by_vnni)
    elif DOT_ROWS > 2 and n - r == 2:
        dots_tile(y, y_row, start, start_row, rows, r, 2, panel, lines, columns, by_vnni)
    elif DOT_ROWS > 1 and n - r == 1:
        dots_tile(y, y_row, start, start_row, rows, r, 1, panel, lines, columns, by_vnni)


cdef inline inlined_void dots_panels(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const WholeRows *rows,
    Py_ssize_t n, const int8_t *W, Py_ssize_t inputs, Py_ssize_t outputs, bint from_last,
    bint by_vnni,
) noexcept nogil:
    # y (n, outputs) = start + n rows @ W
    cdef Py_ssize_t k, j, panels = line_panel_count(outputs, DOT_LINES)
    for k in range(panels):
        j = line_panel_start(panels - 1 - k if from_last else k, outputs, DOT_LINES)
        if lines_of(outputs - j, DOT_LINES) == DOT_LINES:
            dots_panel(y + j, y_row, start + j, start_row, rows, n, W + int8_bytes(inputs, j),
                       DOT_LINES, outputs - j, by_vnni)
        else:
            dots_panel(y + j, y_row, start + j, start_row, rows, n, W + int8_bytes(inputs, j),
                       1, outputs - j, by_vnni)


cdef outlined_void product_int8(
    real *y, Py_ssize_t y_row, const real *start, Py_ssize_t start_row, const real *x,
    Py_ssize_t x_row, const int8_t *W, Py_ssize_t rows, Py_ssize_t inputs, Py_ssize_t outputs,
    bint from_last,
) noexcept nogil:
    # as product, of a W that pack_int8 has packed, of at most WHOLE_INPUTS inputs; so many rows at
    # a time as there is room for
    cdef char memory[WHOLE_ROWS_BYTES]
    cdef float scales[WHOLE_ROWS]
    cdef int32_t starts[WHOLE_ROWS]
    cdef Py_ssize_t r, n, most, done = 0
    cdef WholeRows whole
    whole.numbers, whole.scales, whole.starts = <int8_t *> memory, scales, starts
    whole.groups = (inputs + GROUP - 1) // GROUP
    whole.row = whole_row_bytes(whole.groups, multiplies_by_vnni)
    most = min(WHOLE_ROWS, WHOLE_ROWS_BYTES // whole.row // DOT_ROWS * DOT_ROWS)
    while done < rows:
        n = min(most, rows - done)
        for r in range(n):
            make_whole(&whole, r, x + (done + r) * x_row, inputs, multiplies_by_vnni)
        if CAN_USE_VNNI and multiplies_by_vnni:     # which other builds have no code for
            dots_panels(y + done * y_row, y_row, start + done * start_row, start_row, &whole, n, W,
                        inputs, outputs, from_last, True)
        else:
            dots_panels(y + done * y_row, y_row, start + done * start_row, start_row, &whole, n, W,
                        inputs, outputs, from_last, False)
        done += n
