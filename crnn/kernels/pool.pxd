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
