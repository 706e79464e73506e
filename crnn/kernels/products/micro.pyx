# The innermost loops of products, over the columns of one panel, whose sums stay in registers while
# x and the panel pass by: those of four rows at a time (tile), or of a single one (sums_row). The
# width of a panel is known where they are compiled. The loops run along memory and vectorize
# without reordering any sum: each number of y gets the sum over the inputs in their order.

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define PREFETCH(address) __builtin_prefetch(address)
    #define PREFETCH_L2(address) __builtin_prefetch((address), 0, 2)
    #else
    #define PREFETCH(address)
    #define PREFETCH_L2(address)
    #endif
    #if defined(__GNUC__) && defined(__x86_64__)
    #include <cpuid.h>
    /* Whether a processor gains by prefetching weights that are not in L2. AMD's Zen 5 (family 1Ah)
       does, by a fifth. Zen 4, which guesses better, loses as much; Intel's Sapphire Rapids loses
       and gains nothing; others have not been measured. */
    static int gains_by_prefetching(void) {
        unsigned int signature, b, c, d;
        return __get_cpuid(1, &signature, &b, &c, &d)
            && ((signature >> 8) & 0xf) + ((signature >> 20) & 0xff) == 0x1a;
    }
    /* Whether it gains by working on long panels in blocks, while the next one is prefetched.
       Sapphire Rapids does, by 5 %, or a fifth where weights are not in L2. It is known by AMX,
       which Intel's processors for servers have from it on; others have not been measured. */
    static int gains_by_blocking(void) {
        unsigned int a, b, c, features;
        return __get_cpuid_count(7, 0, &a, &b, &c, &features) && ((features >> 24) & 1);
    }
    #else
    #define gains_by_prefetching() 0
    #define gains_by_blocking() 0
    #endif
    """
    void PREFETCH(const void *address) noexcept nogil
    void PREFETCH_L2(const void *address) noexcept nogil
    bint gains_by_prefetching()
    bint gains_by_blocking()

cdef enum Level:            # of memory, where a W lies between products; MEMORY only on a processor
    L1, L2, MEMORY          # that gains by prefetching, else L2 stands for it

cdef bint prefetches = gains_by_prefetching()
cdef bint blocks_long_panels = gains_by_blocking()


def _work_as_if(bint gains_from_prefetching, bint gains_from_blocks):
    """Work as on other processors, for tests; return what held before."""
    global prefetches, blocks_long_panels
    before = prefetches, blocks_long_panels
    prefetches, blocks_long_panels = gains_from_prefetching, gains_from_blocks
    return before


cdef inline inlined_void add_scaled(real *y, real x, const real *W, Py_ssize_t n) noexcept nogil:
    # y (n,) += x * W (n,)
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = multiply_add(x, W[j], y[j])


cdef inline inlined_void prefetch(const real *numbers, Py_ssize_t n) noexcept nogil:
    # brings the lines of numbers (n,) into L1. Not inlined, it would be taken for a function
    # without effect, and left out.
    cdef Py_ssize_t line, size = n * <Py_ssize_t> sizeof(real)
    for line in range((size + CACHE_LINE - 1) // CACHE_LINE):
        PREFETCH(<const char *> numbers + line * CACHE_LINE)


cdef inline bint is_large(Py_ssize_t numbers) noexcept nogil:
    # whether so many numbers are more than L2 holds
    return numbers * <Py_ssize_t> sizeof(real) > L2_BYTES


cdef inline Level level_of(Py_ssize_t numbers) noexcept nogil:
    # of a W of so many
    if numbers * <Py_ssize_t> sizeof(real) <= L1_BYTES:
        return L1
    return MEMORY if prefetches and is_large(numbers) else L2


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
    # y (rows, width) = start + x (rows, inputs) @ W (inputs, width), of 1 to 4 rows, of which the
    # last is repeated. What the compiler knows switches on:
    #     both      inputs and W go on for as many again, in sums t of their own
    #     sums      (4, width) or NULL: sums go on from there, and wait there for more unless ends
    #     ends      y gets the sums
    #     next_W    or NULL: it is prefetched, next_step numbers further with every input
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
            PREFETCH_L2(next_W + i * next_step)
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


cdef inline inlined_void sums_row(
    real *y, const real *start, const real *x, const real *W, Py_ssize_t inputs,
    Py_ssize_t width, bint both, bint from_memory,
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
        if from_memory:
            prefetch(W + i * width + PREFETCH_AHEAD // <Py_ssize_t> sizeof(real), width)
        add_scaled(s, x[i], W + i * width, width)
        if both:
            add_scaled(t, x_half[i], W_half + i * width, width)
        i += 1
        if i == inputs:
            break
    end_row(y, start, s, t, width, both)


cdef inline inlined_void listed_sums(
    real *y, const real *start, const real *x, const Py_ssize_t *which, Py_ssize_t listed,
    const real *W, Py_ssize_t W_row, Py_ssize_t n,
) noexcept nogil:
    # y (n,) = start + x (listed,) @ W[which] (listed, n), of one row at least
    cdef Py_ssize_t j, k = 0
    cdef real s[WIDEST]
    for j in range(n):
        s[j] = 0
    while True:
        add_scaled(s, x[k], W + which[k] * W_row, n)
        k += 1
        if k == listed:
            break
    end_row(y, start, s, s, n, False)


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
