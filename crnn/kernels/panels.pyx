# How a weight W (inputs, outputs) lies where products read it: in panels, four vector registers
# wide (or two), each of which lies in memory in the order of its inputs:
#
#     panel 0 (inputs, width)   panel 1 (inputs, width)   ...   last panel (inputs, what is left)
#
# The last panel is filled up with zeros to whole vectors; rather than leave a single vector to a
# panel of its own, it has one more than the others.

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
    /* Inlined, a path that is seldom taken has its caller save registers on every path. */
    #define OUTLINED_VOID __attribute__((noinline)) void
    #define PREFETCH(address) __builtin_prefetch(address)
    #define PREFETCH_SECOND(address) __builtin_prefetch((address), 0, 2)  /* into that cache */
    #else
    #define INLINED_VOID void
    #define OUTLINED_VOID void
    #define PREFETCH(address)
    #define PREFETCH_SECOND(address)
    #endif
    #if defined(__GNUC__) && defined(__x86_64__)
    #include <cpuid.h>
    /* Whether a processor gains by being asked early for weights that are not in its second cache.
       AMD's Zen 5 (family 1Ah) does, by a fifth. Zen 4, which guesses better, loses as much;
       Intel's Sapphire Rapids loses and gains nothing; others have not been measured. */
    static int gains_by_asking(void) {
        unsigned int signature, b, c, d;
        return __get_cpuid(1, &signature, &b, &c, &d)
            && ((signature >> 8) & 0xf) + ((signature >> 20) & 0xff) == 0x1a;
    }
    /* Whether it gains by working on long panels in parts, while it is asked for the next one.
       Sapphire Rapids does, by 5 %, or a fifth where weights are not in its second cache. It is
       known by AMX, which Intel's processors for servers have from it on; others have not been
       measured. */
    static int gains_by_cutting(void) {
        unsigned int a, b, c, features;
        return __get_cpuid_count(7, 0, &a, &b, &c, &features) && ((features >> 24) & 1);
    }
    #else
    #define gains_by_asking() 0
    #define gains_by_cutting() 0
    #endif
    """
    enum:
        VECTOR_BYTES
        PANEL_VECTORS
        SIDE_BY_SIDE_BYTES
    ctypedef void inlined_void "INLINED_VOID"
    ctypedef void outlined_void "OUTLINED_VOID"
    void PREFETCH(const void *address) noexcept nogil
    void PREFETCH_SECOND(const void *address) noexcept nogil
    bint gains_by_asking()
    bint gains_by_cutting()

cdef enum:
    UNITS = 16              # numbers of the widest vector
    WIDEST = 80             # columns of the widest panel: five vectors of 16 floats
    COPIED = 16             # numbers at a time
    PACKED_ROWS = 16        # rows of W that a transposing copy takes at a time: a cache line's

cdef bint asks_early = gains_by_asking()
cdef bint cuts_panels = gains_by_cutting()


def _work_as_if(bint gains_by_being_asked, bint gains_by_having_panels_cut):
    """Work as on other processors, for tests; return what held before."""
    global asks_early, cuts_panels
    before = asks_early, cuts_panels
    asks_early, cuts_panels = gains_by_being_asked, gains_by_having_panels_cut
    return before


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


cdef inline Py_ssize_t full_width(const real *W) noexcept nogil:
    # of all panels but the last
    return PANEL_VECTORS * VECTOR_BYTES // <Py_ssize_t> sizeof(real)


cdef inline Py_ssize_t panel_width(const real *W, Py_ssize_t columns) noexcept nogil:
    # of the first of the panels that hold so many columns
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real)
    if columns > (PANEL_VECTORS + 1) * lanes:
        return PANEL_VECTORS * lanes
    return (columns + lanes - 1) & -lanes       # lanes are a power of two


cdef inline Py_ssize_t panel_count(const real *W, Py_ssize_t columns) noexcept nogil:
    # all but the last are as wide as PANEL_VECTORS
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real)
    return max(1, (columns - lanes + PANEL_VECTORS * lanes - 1) // (PANEL_VECTORS * lanes))


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


def pack(real[:, ::1] packed not None, const real[:, :] W not None):
    cdef Py_ssize_t inputs = W.shape[0], outputs = W.shape[1]
    if inputs and outputs:
        with nogil:
            pack_panels(&packed[0, 0], &W[0, 0], W.strides[0] // <Py_ssize_t> sizeof(real),
                        W.strides[1] // <Py_ssize_t> sizeof(real), inputs, outputs)
