# Strands: work that is cut into blocks, in an order, some of which needs blocks of other strands.
# Threads that share a pass over few sequences take whatever block is ready: a thread that does not
# get a processor leaves nothing undone but the block it is in. What a block computes does not
# depend on who takes it, or when.

cdef enum:
    NOBODY = -1
    NONE_READY = -1
    NONE_LEFT = -2
    KEPT_BLOCKS = 2             # So many blocks ahead of others a thread stays with a strand: its
    #                             weights are in its cache;
    HOME_BLOCKS = 8             # and so many with strands of the same home, as what one leaves for
    #                             the other is (LSTM in two directions, H = 128, on Zen 4: .53 ms
    #                             instead of .58 without homes)
    LOOKS_PER_TIME = 64         # looks for work between looks at the clock
    STALLED = 200000            # ns without any progress, beside PATIENCE blocks, after which who
    PATIENCE = 4                # waits goes on alone: another thread has lost its processor. Blocks
    #                             of one strand may take a hundred times as long as of another, so
    #                             all are looked at, also of the pass before; in the first pass it
    #                             is not known how long the ones take that nobody has ended yet

cdef bint first_goes_ahead = False  # for tests: the first strand that is ready goes on


cdef void reset_strands(Strands *strands) noexcept nogil:
    cdef Py_ssize_t k
    strands.left, strands.only = 0, NOBODY
    strands.longest_before, strands.longest = strands.longest, 0
    for k in range(strands.count):
        strands.all[k].begun = strands.all[k].over = 0
        strands.all[k].thread = strands.all[k].owner = NOBODY


cdef inline bint is_ready(Strands *strands, Strand *strand, Py_ssize_t block) noexcept nogil:
    cdef Py_ssize_t k
    if strand.in_order and ATOMIC_READ(&strand.over) < block:
        return False
    for k in range(strand.need_count):
        if (ATOMIC_READ(&strands.all[strand.needs[k].strand].over)
                < min(block + strand.needs[k].ahead, strands.blocks)):
            return False
    return True


cdef Py_ssize_t find_ready(
    Strands *strands, Py_ssize_t thread, Py_ssize_t *block, Py_ssize_t *progress
) noexcept nogil:
    # the strand whose next block is ready and the earliest; how many blocks all strands have begun
    cdef Py_ssize_t k, next_block, rank, best = NONE_LEFT, lowest = 0
    progress[0] = 0
    for k in range(strands.count):
        next_block = ATOMIC_READ(&strands.all[k].begun)
        progress[0] += next_block
        if next_block == strands.blocks:
            continue
        if not is_ready(strands, &strands.all[k], next_block):
            best = max(best, NONE_READY)
            continue
        rank = next_block + strands.all[k].place
        if ATOMIC_READ(&strands.all[k].thread) == thread:
            rank -= KEPT_BLOCKS
        if ATOMIC_READ(&strands.all[strands.all[k].home].owner) == thread:
            rank -= HOME_BLOCKS
        if first_goes_ahead:
            rank = k
        if best < 0 or rank < lowest:
            best, lowest, block[0] = k, rank, next_block
    return best


cdef bint take_block(Strands *strands, Walker *walker, Pulse *pulse) noexcept nogil:
    # whether there is a block for this thread, for which it may have waited
    cdef Py_ssize_t k, progress, seen = -1, looks = 0
    cdef long long idle = 0, since = 0
    while not must_stop(pulse):
        k = find_ready(strands, walker.thread, &walker.block, &progress)
        if k == NONE_LEFT or ATOMIC_READ(&strands.only) not in (NOBODY, walker.thread):
            break
        if k >= 0 and ATOMIC_TURN(&strands.all[k].begun, walker.block, walker.block + 1):
            walker.strand = k
            ATOMIC_WRITE(&strands.all[k].thread, walker.thread)
            ATOMIC_TURN(&strands.all[strands.all[k].home].owner, NOBODY, walker.thread)
            if looks:
                count_idle(pulse, thread_time() - idle)
            walker.since = monotonic()
            return True
        if looks == 0:
            idle = thread_time()
        if progress != seen:
            seen, since = progress, monotonic()
        elif looks % LOOKS_PER_TIME == 0 and is_stalled(strands, monotonic() - since):
            ATOMIC_TURN(&strands.only, NOBODY, walker.thread)
        looks += 1
        rest(looks)
    if looks:
        count_idle(pulse, thread_time() - idle)
    return False


cdef inline bint is_stalled(Strands *strands, long long idle) noexcept nogil:
    # whether nothing has begun for longer than any block takes
    cdef Py_ssize_t longest = max(strands.longest_before, ATOMIC_READ(&strands.longest))
    return strands.longest_before > 0 and idle > STALLED + PATIENCE * longest


cdef void count_idle(Pulse *pulse, long long idle) noexcept nogil:
    # time of a task that was no work
    ATOMIC_ADD(&pulse.job.worked, -<Py_ssize_t> idle)


cdef void end_block(Strands *strands, Walker *walker) noexcept nogil:
    cdef Py_ssize_t took = <Py_ssize_t> (monotonic() - walker.since)
    cdef Py_ssize_t longest = ATOMIC_READ(&strands.longest)
    while took > longest and not ATOMIC_TURN(&strands.longest, longest, took):
        longest = ATOMIC_READ(&strands.longest)
    ATOMIC_ADD(&strands.all[walker.strand].over, 1)


cdef bint is_last_to_leave(Strands *strands, Py_ssize_t threads) noexcept nogil:
    # whether all others, of so many threads, have left
    return ATOMIC_ADD(&strands.left, 1) == threads - 1


# --- for tests ---------------------------------------------------------------------------------

cdef struct StrandsRehearsal:
    Strands strands
    Py_ssize_t *notes           # (strands, blocks, 3)
    Py_ssize_t events           # blocks that have begun, and those that are over
    Py_ssize_t threads
    long long takes             # ns, of every third block, and of others less


cdef void rehearse_walk(
    StrandsRehearsal *r, Py_ssize_t phase, Py_ssize_t part, Pulse *pulse
) noexcept nogil:
    cdef Walker walker
    cdef Py_ssize_t *note
    cdef long long start
    walker.thread = part
    while take_block(&r.strands, &walker, pulse):
        note = r.notes + 3 * (walker.strand * r.strands.blocks + walker.block)
        note[0], note[2] = ATOMIC_ADD(&r.events, 1), <Py_ssize_t> NATIVE_ID()
        start = monotonic()
        while monotonic() - start < r.takes // (1 + (walker.strand + walker.block) % 3):
            PAUSE()
        note[1] = ATOMIC_ADD(&r.events, 1)
        end_block(&r.strands, &walker)
    is_last_to_leave(&r.strands, r.threads)


def set_first_goes_ahead(bint does):
    """Have threads prefer the first strand that is ready, for tests; return what held before."""
    global first_goes_ahead
    before, first_goes_ahead = first_goes_ahead, does
    return before


def rehearse_stalling(Py_ssize_t before, Py_ssize_t now, long long idle):
    """Return whether who has waited for so many ns goes on alone, for tests.

    The longest block of the pass before, or 0, and of this one took so many.
    """
    cdef Strands strands
    strands.longest_before, strands.longest = before, now
    return bool(is_stalled(&strands, idle))


def rehearse_strands(
    bytearray notes, list strands, Py_ssize_t blocks, Py_ssize_t threads, long long takes
):
    """Run blocks of strands that do nothing but note that they ran, for tests.

    Parameters
    ----------
    notes : bytearray
        Three Py_ssize_t a block of each strand, as in `rehearse`.
    strands : list of tuple
        Of each strand whether its blocks go in order, and what they need: a list of (strand,
        ahead); see Need.
    blocks, threads : int
    takes : int
        How many ns a block takes at most.

    Returns
    -------
    left, longest : int
        How many threads have left at the end: all; how many ns the longest block took.
    """
    cdef StrandsRehearsal r
    cdef Strand all_strands[16]
    cdef Py_ssize_t k = 0, parts = threads
    for in_order, needs in strands:
        all_strands[k].in_order, all_strands[k].place, all_strands[k].home = in_order, k, k
        all_strands[k].need_count = 0
        for strand, ahead in needs:
            all_strands[k].needs[all_strands[k].need_count].strand = strand
            all_strands[k].needs[all_strands[k].need_count].ahead = ahead
            all_strands[k].need_count += 1
        k += 1
    r.strands.all, r.strands.count, r.strands.blocks = all_strands, k, blocks
    r.strands.longest = 0
    reset_strands(&r.strands)
    r.notes, r.events, r.threads, r.takes = <Py_ssize_t *> <char *> notes, 0, threads, takes
    run_tasks(<Task> rehearse_walk, &r, &parts, 1, threads)
    return r.strands.left, r.strands.longest
