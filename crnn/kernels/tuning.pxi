# Numbers that were found by measuring, or follow from what a processor has: name, value, which
# cache or loop it is for, and what it was measured on, where that is known (Zen 4 and Zen 5 are
# AMD's, Sapphire Rapids is Intel's). Python reads the shared ones from TUNING in memory.pyx.

cdef extern from *:
    """
    #if defined(__AVX512F__)
    #define VECTOR_BYTES 64
    #define PANEL_VECTORS 4         /* of 32 registers 16 hold the sums of a tile, four rows high */
    #define BOTH_HALVES_BYTES 128   /* and so they do of half as wide a panel, for both halves of
                                       its inputs at once */
    #define HELD_VECTORS 16         /* beside so many, those of W have registers of their own */
    #elif defined(__AVX2__)
    #define VECTOR_BYTES 32
    #define PANEL_VECTORS 2         /* of 16 registers 8 */
    #define BOTH_HALVES_BYTES 32
    #define HELD_VECTORS 8
    #else
    #define VECTOR_BYTES 16
    #define PANEL_VECTORS 2
    #define BOTH_HALVES_BYTES 16
    #define HELD_VECTORS 8
    #endif
    #define VECTOR ((Py_ssize_t) (VECTOR_BYTES / (REAL_IS_FLOAT ? sizeof(float) : sizeof(double))))
    #define FULL_WIDTH (PANEL_VECTORS * VECTOR)
    """
    enum:
        VECTOR_BYTES                # of a register
        PANEL_VECTORS               # of all panels but the last
        BOTH_HALVES_BYTES           # width of a panel of which a tile adds up both halves at once
        HELD_VECTORS                # sums of two or three rows beside which there is room for W
    const Py_ssize_t VECTOR         # numbers of a register
    const Py_ssize_t FULL_WIDTH     # columns of all panels but the last

cdef enum:
    # vectors and lines
    UNITS = 16                  # numbers of the widest register
    WIDEST = 80                 # columns of the widest panel: five registers of 16 floats
    WIDEST_FULL = 64            # columns of the widest panel that is not the last
    CACHE_LINE = 64             # bytes
    COPIED = 16                 # numbers of a row that a copying loop takes at a time
    PACKED_ROWS = 16            # rows of W that a transposing copy takes at a time: a cache line's

    # products: which sums, and when memory is asked for what comes next
    TILE_ROWS = 4               # rows of y in registers: see PANEL_VECTORS
    L1_BYTES = 32768            # a W up to this size is summed in two halves: it stays in L1
    L2_BYTES = 3 << 19          # one beyond this size is not in L2 (Zen 4, Zen 5: 1 MB; Sapphire
    #                             Rapids: 2 MB) when it is read again
    PREFETCH_AHEAD = 3072       # bytes from what is read of such a W to what is prefetched (Zen 5:
    #                             a step with H = 1024, I = 1 took 33 us instead of 40)
    PANEL_BLOCK_BYTES = 32768   # of a long panel, which L1 holds (Sapphire Rapids: 20 % of products
    PANEL_BLOCK_ROWS = 32       # with weights of 4 MB), and rows of y that it is multiplied with
    ROWS_TOGETHER = 128         # rows of a product that stay in L2 from one panel to the next
    NUMBERS_TOGETHER = 65536    # and of many rows so many numbers, as W is read anew each time
    EDGE_ROWS = 16              # rows of y that are copied together where it is no whole panel wide
    GRADIENT_STEPS = 64         # rows whose outer products are added up in registers, and other
    #                             rows before their sum goes to a gradient
    GRADIENT_COLUMNS = 1024     # columns of such other rows that are added up together, in L1
    LINKED_ROWS = 1024          # rows of tokens of which those of the same one are: links in L1
    PARTIAL_ROWS = 128 * GRADIENT_STEPS     # rows that a partial sum of a gradient has at most
    #                             before it is added to the total. With 128 such sums a million rows
    #                             are three sums of about as many, of 1e-5 at the most in float32
    GRADIENT_INPUTS = 16        # columns of x that are copied together: a cache line's
    GRADIENT_PANELS = 4         # of a gradient, for which they are copied once (Zen 4: a pass takes
    #                             4 to 18 % less with AVX2 than for each panel, 3 % with AVX-512)
    SPARSE = 8                  # x of which less than one number in so many is not 0 is listed;
    SPARSE_NUMBERS = 4096       # so many of them are looked at (density 1/4: as fast as tiles),
    SPARSE_BLOCK = 64           # so many in a row
    LISTED = 512                # numbers of a row of it that there is room for, else
    TOO_MANY = -1

    # products of whole numbers
    WHOLE_INPUTS = 8192         # at most, or there is no room for four rows in
    WHOLE_ROWS_BYTES = 67584    # the memory of the rows that are rounded at once, for which W is
    #                             read once: 32 rows of 1,024 inputs in pairs, else of 2,048, or
    WHOLE_ROWS = 128            # so many at most

    # losses and sums
    LOSS_LANES = 16             # partial results of a loop over a row: the widest register's, so
    #                             that they are the same in every build
    SOFTMAX_ROWS = 8            # rows at a time, which do not wait for each other: half the time
    PARTIAL_SUMS = 64           # of squares: more than the widest registers need to hide latency

    # passes
    PROJECTED_ROWS = 256        # rows of gates that are filled by a product before the loop
    PROJECTED_NUMBERS = 32768   # and no more than so many numbers, which stay in L2,
    MIN_PROJECTED_ROWS = 128    # but so many rows, as W_xh is read anew each time (LSTM, H = 512:
    #                             16 to 32 rows took 2 to 3 % longer)
    FOLDED_NUMBERS = 1 << 23    # of a table that is folded into the layer above, at most: 32 MiB
    #                             (LSTM, H = 128, 10,000 rows of 128: 1.3 to 1.5 times as fast),
    FOLDED_INPUTS = 48          # from rows of so many features on: to read what is folded, where no
    #                             cache holds it, takes as long as to multiply 24 to 32;
    FEW_FOLDED_NUMBERS = 1 << 18    # and of fewer features, so many, which stay in L2
    SHARED_SEQUENCES = TILE_ROWS    # threads take multiples of so many sequences
    SHARED_UNITS = UNITS            # or, of gradients of weights, hidden units
    SHARED_STEPS = 32           # or, of few sequences, blocks of so many steps, so that W_xh need
    LEAST_SHARED_STEPS = 8      # not be read too often, or of a short pass fewer, but not so few
    SHARED_BLOCKS = 16          # that there are more blocks: threads wait for one at either end
    SLOWER_ALONE = 2            # a multiplication by W_hh, which is read anew at each step, takes
    #                             so many times as long as in a product with many rows
