# The innermost loops of products, over the columns of panels, whose sums stay in registers while x
# and the panels pass by: those of up to four rows with one panel, or of fewer rows with up to four
# panels. How many they are, and how wide a panel is, is known where they are compiled. The loops
# run along memory and vectorize without reordering any sum: each number of y gets the sum over the
# inputs in their order.

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define PREFETCH(address) __builtin_prefetch(address)
    #define PREFETCH_L2(address) __builtin_prefetch((address), 0, 2)
    #else
    #define PREFETCH(address)
    #define PREFETCH_L2(address)
    #endif
    /* to (n,) = numbers (n,), through registers. What two or three rows are multiplied with, gcc
       would else read two or three times, as it takes a load to cost no more than a register. */
    #if REAL_IS_FLOAT
    typedef float held_number;
    #else
    typedef double held_number;
    #endif
    static inline void hold(held_number *to, const held_number *numbers, Py_ssize_t n) {
        Py_ssize_t j;
    #if defined(__GNUC__) && defined(__x86_64__)
        typedef held_number held __attribute__((vector_size(VECTOR_BYTES),
                                                aligned(sizeof(held_number))));
        for (j = 0; j < n; j += VECTOR) {
            held some = *(const held *) (numbers + j);
            __asm__("" : "+v"(some));
            *(held *) (to + j) = some;
        }
    #else
        for (j = 0; j < n; j++) to[j] = numbers[j];
    #endif
    }
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
    void hold(real *to, const real *numbers, Py_ssize_t n) noexcept nogil
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
    Py_ssize_t x_row, Py_ssize_t x_step, const real *W, Py_ssize_t next_panel, Py_ssize_t inputs,
    Py_ssize_t rows, Py_ssize_t panels, Py_ssize_t width, bint both, bint from_memory,
    real *waiting, bint ends, const real *next_W, Py_ssize_t next_step,
) noexcept nogil:
    # y (rows, panels * width) = start + x (rows, inputs) @ W, of 1 to 4 rows and panels (inputs,
    # width), next_panel numbers apart. How many of both is known where it is compiled, and what
    # switches on:
    #     both         inputs and the one panel go on for as many again, in sums of their own
    #     from_memory  what will be read of W much later is prefetched
    #     waiting      (4, width) or NULL: sums of four rows go on from there, and wait there for
    #                  more unless ends
    #     ends         y gets the sums
    #     next_W       or NULL: it is prefetched, next_step numbers further with every input
    # Each row has its sums in as many parts as there are panels, or halves.
    cdef Py_ssize_t j, k, i = 0, parts = 2 if both else panels
    cdef Py_ssize_t n = width if both else panels * width
    cdef Py_ssize_t next_x = inputs * x_step if both else 0
    cdef Py_ssize_t next_part = inputs * width if both else next_panel
    cdef const real *x1 = x + x_row
    cdef const real *x2 = x + 2 * x_row
    cdef const real *x3 = x + 3 * x_row
    cdef const real *part
    cdef real weights[WIDEST]
    cdef real s0[2 * WIDEST]
    cdef real s1[2 * WIDEST]
    cdef real s2[2 * WIDEST]
    cdef real s3[2 * WIDEST]
    for j in range(parts * width):
        s0[j] = s1[j] = s2[j] = s3[j] = 0
    if waiting != NULL:
        copy(s0, waiting, width)
        copy(s1, waiting + width, width)
        copy(s2, waiting + 2 * width, width)
        copy(s3, waiting + 3 * width, width)
    while True:             # at least one input, or the sums would go through memory
        if next_W != NULL:
            PREFETCH_L2(next_W + i * next_step)
        for k in range(parts):
            part = W + k * next_part + i * width
            if from_memory:
                prefetch(part + PREFETCH_AHEAD // <Py_ssize_t> sizeof(real), width)
            if 1 < rows < 4 and rows * parts * width <= HELD_VECTORS * VECTOR:
                hold(weights, part, width)
            else:
                copy(weights, part, width)
            add_scaled(s0 + k * width, x[k * next_x + i * x_step], weights, width)
            if rows > 1:
                add_scaled(s1 + k * width, x1[k * next_x + i * x_step], weights, width)
            if rows > 2:
                add_scaled(s2 + k * width, x2[k * next_x + i * x_step], weights, width)
            if rows > 3:
                add_scaled(s3 + k * width, x3[k * next_x + i * x_step], weights, width)
        i += 1
        if i == inputs:
            break
    if not ends:
        copy(waiting, s0, width)
        copy(waiting + width, s1, width)
        copy(waiting + 2 * width, s2, width)
        copy(waiting + 3 * width, s3, width)
        return
    end_row(y, start, s0, s0 + width, n, both)
    if rows > 1:
        end_row(y + y_row, start + start_row, s1, s1 + width, n, both)
    if rows > 2:
        end_row(y + 2 * y_row, start + 2 * start_row, s2, s2 + width, n, both)
    if rows > 3:
        end_row(y + 3 * y_row, start + 3 * start_row, s3, s3 + width, n, both)


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
