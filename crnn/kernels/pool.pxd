# What the builds of the kernels use of the pool: tasks that may run in several threads.

cdef struct Job

cdef struct Pulse:          # of one thread that takes part in a job
    Job *job
    bint is_main            # it is the main thread, which looks for signals
    long long next_look     # when, in ns

ctypedef void (*Task)(void *context, Py_ssize_t phase, Py_ssize_t part, Pulse *pulse) noexcept nogil

cpdef Py_ssize_t threads_for(double work) noexcept
cdef int run_tasks(
    Task task, void *context, const Py_ssize_t *parts, Py_ssize_t phases, Py_ssize_t threads
) except -1
cdef bint must_stop(Pulse *pulse) noexcept nogil
cdef bint claim(Py_ssize_t *is_busy) noexcept nogil
cdef void unclaim(Py_ssize_t *is_busy) noexcept nogil
cdef void lock_packing() noexcept nogil
cdef void unlock_packing() noexcept nogil

# and of its strands (strands.pyx)

cdef enum:
    MAX_NEEDS = 4
    ALL_BLOCKS = 1 << 30

cdef struct Need:
    Py_ssize_t strand, ahead    # block k needs the first k + ahead blocks of that strand, or all

cdef struct Strand:
    Py_ssize_t begun, over      # how many of its blocks are
    Py_ssize_t thread           # whose block was the last one
    Py_ssize_t home             # the first of the strands that are best left to one thread
    Py_ssize_t owner            # of a home: that thread
    Py_ssize_t place            # its distance from the input
    bint in_order               # whether a block needs the one before it
    Py_ssize_t need_count
    Need needs[MAX_NEEDS]
    char gap[128]               # no two strands share a cache line

cdef struct Strands:
    Strand *all
    Py_ssize_t count
    Py_ssize_t blocks           # of each strand
    Py_ssize_t left             # threads that have left
    Py_ssize_t only             # the thread that goes on alone, or NOBODY
    Py_ssize_t longest          # ns, of the blocks of this pass;
    Py_ssize_t longest_before   # of the one before, or 0: there was none

cdef struct Walker:             # a thread at work
    Py_ssize_t thread
    Py_ssize_t strand, block    # which it has taken
    long long since             # when it took it, in ns

cdef void reset_strands(Strands *strands) noexcept nogil
cdef bint take_block(Strands *strands, Walker *walker, Pulse *pulse) noexcept nogil
cdef void end_block(Strands *strands, Walker *walker) noexcept nogil
cdef bint is_last_to_leave(Strands *strands, Py_ssize_t threads) noexcept nogil
