"""A pool of threads that run compiled tasks and never touch Python.

A caller hands over a job: phases of tasks. Whoever is free takes the next task; the tasks of a
phase begin when all of the phases before are over (a barrier). The caller takes tasks too, looks
for signals every 50 ms if it is the main thread (the only one that handles them), and leaves when
every task is over and no worker holds its job.

Workers are native threads without an interpreter state, so nothing that Python does can stop them
half way: an interrupt, a fork or the end of the interpreter finds all locks free or renews them.
After a job a worker spins for some 0.3 ms, as jobs often follow each other, and then sleeps.
"""

import os
import threading

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #include <intrin.h>
    #include <windows.h>
    #if defined(_WIN64)
    #define ATOMIC_ADD(place, n) InterlockedExchangeAdd64((LONG64 volatile *) (place), (n))
    #define ATOMIC_READ(place) ReadAcquire64((LONG64 const volatile *) (place))
    #define ATOMIC_WRITE(place, n) WriteRelease64((LONG64 volatile *) (place), (n))
    #define ATOMIC_TURN(place, from, to) (InterlockedCompareExchange64( \
        (LONG64 volatile *) (place), (to), (from)) == (from))
    #else
    #define ATOMIC_ADD(place, n) InterlockedExchangeAdd((LONG volatile *) (place), (n))
    #define ATOMIC_READ(place) ReadAcquire((LONG const volatile *) (place))
    #define ATOMIC_WRITE(place, n) WriteRelease((LONG volatile *) (place), (n))
    #define ATOMIC_TURN(place, from, to) (InterlockedCompareExchange( \
        (LONG volatile *) (place), (to), (from)) == (from))
    #endif
    #define PAUSE() YieldProcessor()
    #define NAP() Sleep(0)
    static long long monotonic(void) {
        LARGE_INTEGER now, second;
        QueryPerformanceCounter(&now);
        QueryPerformanceFrequency(&second);
        return (long long) (1e9 * now.QuadPart / second.QuadPart);
    }
    #define thread_time() 0LL       /* passes are not judged */
    #define leave_signals_to_others()
    #else
    #include <pthread.h>
    #include <signal.h>
    #include <time.h>
    #define ATOMIC_ADD(place, n) __atomic_fetch_add((place), (n), __ATOMIC_ACQ_REL)
    #define ATOMIC_READ(place) __atomic_load_n((place), __ATOMIC_ACQUIRE)
    #define ATOMIC_WRITE(place, n) __atomic_store_n((place), (n), __ATOMIC_RELEASE)
    static int ATOMIC_TURN(Py_ssize_t *place, Py_ssize_t from, Py_ssize_t to) {
        return __atomic_compare_exchange_n(
            place, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    #if defined(__x86_64__) || defined(__i386__)
    #define PAUSE() __builtin_ia32_pause()
    #elif defined(__aarch64__)
    #define PAUSE() __asm__ volatile ("yield")
    #else
    #define PAUSE()
    #endif
    static void NAP(void) {
        struct timespec nap = {0, 20000};
        nanosleep(&nap, NULL);
    }
    static long long nanoseconds(clockid_t clock) {
        struct timespec now;
        clock_gettime(clock, &now);
        return now.tv_sec * 1000000000LL + now.tv_nsec;
    }
    #define monotonic() nanoseconds(CLOCK_MONOTONIC)
    #define thread_time() nanoseconds(CLOCK_THREAD_CPUTIME_ID)
    /* A signal that this thread took would be handled late, or though the main thread blocks it to
       wait for it. What this thread itself does wrong remains its own. */
    static void leave_signals_to_others(void) {
        sigset_t signals;
        sigfillset(&signals);
        sigdelset(&signals, SIGSEGV);
        sigdelset(&signals, SIGBUS);
        sigdelset(&signals, SIGILL);
        sigdelset(&signals, SIGFPE);
        sigdelset(&signals, SIGABRT);
        pthread_sigmask(SIG_BLOCK, &signals, NULL);
    }
    #endif

    #ifdef __linux__
    #include <sched.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    #define NATIVE_ID() ((long long) syscall(SYS_gettid))
    /* Keep some threads off the processor that this one is on, if there are enough others for those
       that are wanted. Linux may wake them there though another is at rest, if this thread has just
       slept for some milliseconds: for as long again they would take turns. */
    static void run_elsewhere(const long long *ids, Py_ssize_t count, Py_ssize_t wanted) {
        cpu_set_t elsewhere;
        int here = sched_getcpu();
        Py_ssize_t i;
        if (here < 0 || here >= CPU_SETSIZE
            || sched_getaffinity(0, sizeof(elsewhere), &elsewhere) != 0)
            return;
        CPU_CLR(here, &elsewhere);
        if (CPU_COUNT(&elsewhere) < wanted)
            return;
        for (i = 0; i < count; i++)
            if (ids[i] != 0)
                sched_setaffinity((pid_t) ids[i], sizeof(elsewhere), &elsewhere);
    }
    #else
    #define NATIVE_ID() 0LL
    #define run_elsewhere(ids, count, wanted)
    #endif
    """
    Py_ssize_t ATOMIC_ADD(Py_ssize_t *place, Py_ssize_t n) nogil
    Py_ssize_t ATOMIC_READ(Py_ssize_t *place) nogil
    void ATOMIC_WRITE(Py_ssize_t *place, Py_ssize_t n) nogil
    bint ATOMIC_TURN(Py_ssize_t *place, Py_ssize_t before, Py_ssize_t after) nogil
    void PAUSE() nogil
    void NAP() nogil
    long long monotonic() nogil
    long long thread_time() nogil
    long long NATIVE_ID() nogil
    void run_elsewhere(const long long *ids, Py_ssize_t count, Py_ssize_t wanted) nogil
    void leave_signals_to_others() nogil

cdef extern from "Python.h":
    ctypedef int PyGILState_STATE
    PyGILState_STATE PyGILState_Ensure() noexcept nogil
    void PyGILState_Release(PyGILState_STATE state) noexcept nogil
    int PyErr_CheckSignals() noexcept nogil
    void *PyErr_Occurred() noexcept
    void *PyInterpreterState_Get() noexcept
    void *PyInterpreterState_Main() noexcept

cdef extern from "pythread.h":
    ctypedef void *PyThread_type_lock
    enum:
        WAIT_LOCK
    unsigned long PYTHREAD_INVALID_THREAD_ID
    unsigned long PyThread_get_thread_ident() noexcept nogil
    PyThread_type_lock PyThread_allocate_lock() noexcept nogil
    void PyThread_free_lock(PyThread_type_lock lock) noexcept nogil
    int PyThread_acquire_lock(PyThread_type_lock lock, int wait) noexcept nogil
    void PyThread_release_lock(PyThread_type_lock lock) noexcept nogil
    unsigned long PyThread_start_new_thread(void (*function)(void *), void *argument) noexcept

# PyGILState_Ensure knows the main interpreter alone, and waits for ever in any other.
if PyInterpreterState_Get() != PyInterpreterState_Main():
    raise ImportError("crnn runs only in the main interpreter of a process, not in others")

cdef enum:
    MAX_WORKERS = 255
    MAX_JOBS = 64           # at a time; more callers than that work alone
    SPINS = 25000           # pauses of 12 ns (Sapphire Rapids) to 20 ns (Zen 5): 0.3 ms
    LOOK_EVERY = 50000000   # ns between looks for signals

# Waking a thread takes about 50 us. Below this many multiplications (about 0.5 ms on one thread)
# two threads were no faster than one.
cdef double least_work = 1.2e7
# Where other programs keep the processors busy, threads take turns. After two passes in a row whose
# threads did no more than this many processors' work, none is split for so many times as long as
# the last one took, or a second. One by itself says little: a processor at rest is slow to wake.
# But after one that took longer, by such a part, than its work would have taken one thread, as it
# waited for another that had lost its processor, none is split for so many times what was lost.
cdef double least_gain = 1.1
cdef double most_loss = 0.1
cdef double alone = 20
cdef double alone_after_loss = 40
cdef long long longest_alone = 1000000000

cdef struct Job:
    Task task
    void *context
    const Py_ssize_t *parts     # how many tasks each phase has
    Py_ssize_t total            # tasks of all phases
    Py_ssize_t next             # the task that is taken next
    Py_ssize_t over             # tasks that are over
    Py_ssize_t stopped          # whether no more tasks are to begin
    Py_ssize_t worked           # ns of processor time that tasks took
    Py_ssize_t wanted           # workers that may still join
    Py_ssize_t inside           # workers that hold the job
    Py_ssize_t forks            # of this process before the job
    bint is_shared              # whether others than the caller may take part

cdef struct Worker:
    PyThread_type_lock sleep    # held by a worker that sleeps, released by who wakes it

cdef PyThread_type_lock mutex = NULL        # held while jobs and sleepers are looked at
cdef PyThread_type_lock packing = NULL      # held while weights are packed
cdef Job *jobs[MAX_JOBS]
cdef Worker workers[MAX_WORKERS]
cdef long long native_ids[MAX_WORKERS]
cdef Py_ssize_t sleepers[MAX_WORKERS]       # the numbers of workers that sleep
cdef Py_ssize_t worker_count, sleeper_count, spinning
cdef Py_ssize_t news                        # counts the jobs that came
cdef Py_ssize_t forks                       # of which this process is the child
cdef unsigned long main_thread              # who handles signals
cdef Py_ssize_t limit = 0
cdef Py_ssize_t turns                       # passes in a row that gained nothing
cdef long long alone_until                  # ns


def _begin():
    """Make the locks anew: at the import, and in the child of a fork, which has no worker."""
    global mutex, packing, worker_count, sleeper_count, spinning, forks, main_thread
    mutex, packing = PyThread_allocate_lock(), PyThread_allocate_lock()
    if mutex == NULL or packing == NULL:
        raise MemoryError()
    worker_count = sleeper_count = spinning = 0
    forks += 1
    main_thread = threading.main_thread().ident     # after a fork, who called it
    for i in range(MAX_JOBS):
        jobs[i] = NULL


_begin()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin)


def set_thread_limit(Py_ssize_t n):
    """Set how many threads a job may use, and forget what passes gained before."""
    global limit, turns, alone_until
    limit, turns, alone_until = n, 0, 0


def set_thresholds(multiplications=None, times_alone=None):
    """Set what makes a pass worth sharing, for tests; return what held before."""
    global least_work, alone, alone_after_loss
    before = least_work, alone
    least_work = least_work if multiplications is None else multiplications
    alone = alone if times_alone is None else times_alone
    alone_after_loss = 2 * alone
    return before


def worker_ids():
    """Return the system's numbers of the workers that there are, for tests."""
    return [native_ids[i] for i in range(worker_count)]


def thread_limit():
    """Return what `set_thread_limit` set; 0: nothing yet."""
    return limit


cpdef Py_ssize_t threads_for(double work) noexcept:
    """Return how many threads are worth having for so many multiplications now."""
    if work < least_work or limit <= 1:
        return 1
    return limit if monotonic() >= alone_until else 1


cdef bint claim(Py_ssize_t *is_busy) noexcept nogil:
    # whether what nobody used is now this thread's
    if ATOMIC_ADD(is_busy, 1) == 0:
        return True
    ATOMIC_ADD(is_busy, -1)
    return False


cdef void unclaim(Py_ssize_t *is_busy) noexcept nogil:
    ATOMIC_ADD(is_busy, -1)


cdef void lock_packing() noexcept nogil:
    PyThread_acquire_lock(packing, WAIT_LOCK)


cdef void unlock_packing() noexcept nogil:
    PyThread_release_lock(packing)


cdef bint must_stop(Pulse *pulse) noexcept nogil:
    # asked between blocks of work: whether the rest is not wanted any more
    if pulse.is_main and monotonic() >= pulse.next_look:
        look_for_signals(pulse)
    return ATOMIC_READ(&pulse.job.stopped)


cdef void look_for_signals(Pulse *pulse) noexcept nogil:
    # leaves the exception that a handler raises set, for run_tasks to return with; other threads
    # than the main one must not come here: at the end of the interpreter whoever asks for the GIL
    # is ended, and what workers hold of its job with it
    cdef PyGILState_STATE state
    pulse.next_look = monotonic() + LOOK_EVERY
    if ATOMIC_READ(&pulse.job.stopped):
        return
    state = PyGILState_Ensure()
    if PyErr_CheckSignals() < 0:
        ATOMIC_WRITE(&pulse.job.stopped, 1)
    PyGILState_Release(state)
    if pulse.job.forks != forks:    # a handler has forked: the workers stayed behind
        ATOMIC_WRITE(&pulse.job.stopped, 1)


cdef bint rest(Py_ssize_t looks) noexcept nogil:
    # between looks at what other threads will change; whether they have taken a while
    if looks < SPINS:
        PAUSE()
        return False
    NAP()
    return True


cdef void wait_for(Pulse *pulse, Py_ssize_t over) noexcept nogil:
    # until so many tasks are over
    cdef Py_ssize_t looks = 0
    while ATOMIC_READ(&pulse.job.over) < over and pulse.job.forks == forks:
        looks += 1
        if rest(looks):
            must_stop(pulse)


cdef void take_part(Pulse *pulse) noexcept nogil:
    cdef Job *job = pulse.job
    cdef Py_ssize_t n, phase = 0, before = 0
    cdef long long start
    while True:
        n = ATOMIC_ADD(&job.next, 1)
        if n >= job.total:
            return
        while n >= before + job.parts[phase]:
            before += job.parts[phase]
            phase += 1
        wait_for(pulse, before)
        if must_stop(pulse):
            pass
        elif job.is_shared:
            start = thread_time()
            job.task(job.context, phase, n - before, pulse)
            ATOMIC_ADD(&job.worked, <Py_ssize_t> (thread_time() - start))
        else:
            job.task(job.context, phase, n - before, pulse)
        ATOMIC_ADD(&job.over, 1)


# --- workers -----------------------------------------------------------------------------------

cdef Job *join() noexcept nogil:
    # a job that wants one more worker, or NULL; with the mutex held
    cdef Py_ssize_t i
    for i in range(MAX_JOBS):
        if (jobs[i] != NULL and jobs[i].wanted > 0
                and ATOMIC_READ(&jobs[i].next) < jobs[i].total):
            jobs[i].wanted -= 1
            ATOMIC_ADD(&jobs[i].inside, 1)      # others may be leaving
            return jobs[i]
    return NULL


cdef Job *await_job(Py_ssize_t number) noexcept nogil:
    # a job to take part in; sleeps until there is one
    cdef Job *job
    cdef Py_ssize_t looks, seen
    while True:
        PyThread_acquire_lock(mutex, WAIT_LOCK)
        seen = ATOMIC_READ(&news)
        job = join()
        if job == NULL:
            ATOMIC_ADD(&spinning, 1)
        PyThread_release_lock(mutex)
        if job != NULL:
            return job
        looks = 0
        while looks < SPINS and ATOMIC_READ(&news) == seen:
            looks += 1
            PAUSE()
        PyThread_acquire_lock(mutex, WAIT_LOCK)
        ATOMIC_ADD(&spinning, -1)
        job = join()
        if job == NULL and ATOMIC_READ(&news) == seen:
            sleepers[sleeper_count] = number
            count_sleepers(1)
            PyThread_release_lock(mutex)
            PyThread_acquire_lock(workers[number].sleep, WAIT_LOCK)
        else:
            PyThread_release_lock(mutex)
        if job != NULL:
            return job


cdef void count_sleepers(Py_ssize_t more) noexcept nogil:
    global sleeper_count
    sleeper_count += more


cdef void attend(void *argument) noexcept nogil:
    # what a worker does all its life
    cdef Py_ssize_t number = <Py_ssize_t> argument
    cdef Pulse pulse
    leave_signals_to_others()
    native_ids[number] = NATIVE_ID()
    pulse.is_main = False
    pulse.next_look = 0
    while True:
        pulse.job = await_job(number)
        take_part(&pulse)
        ATOMIC_ADD(&pulse.job.inside, -1)


cdef Py_ssize_t hire(Py_ssize_t wanted) noexcept:
    # makes workers until there are so many, or no more are to be had; returns how many it made
    global worker_count
    cdef Py_ssize_t hired = 0
    cdef Worker *worker
    wanted = min(wanted, MAX_WORKERS)
    if ATOMIC_READ(&worker_count) >= wanted:
        return 0
    PyThread_acquire_lock(mutex, WAIT_LOCK)
    while worker_count < wanted:
        worker = &workers[worker_count]
        worker.sleep = PyThread_allocate_lock()
        if worker.sleep == NULL:
            break
        PyThread_acquire_lock(worker.sleep, WAIT_LOCK)      # as a sleeper finds it
        native_ids[worker_count] = 0
        if PyThread_start_new_thread(attend, <void *> worker_count) == PYTHREAD_INVALID_THREAD_ID:
            PyThread_release_lock(worker.sleep)
            PyThread_free_lock(worker.sleep)
            break
        ATOMIC_ADD(&worker_count, 1)
        hired += 1
    PyThread_release_lock(mutex)
    return hired


# --- callers -----------------------------------------------------------------------------------

cdef void announce(Job *job, Py_ssize_t hired) noexcept nogil:
    # lets workers join, and wakes as many as are wanted beside those that spin or are new
    cdef Py_ssize_t i, waking = 0, wanted = job.wanted
    cdef Py_ssize_t woken[MAX_WORKERS]
    cdef Py_ssize_t slot = -1
    PyThread_acquire_lock(mutex, WAIT_LOCK)
    for i in range(MAX_JOBS):
        if jobs[i] == NULL:
            slot = i
            break
    if slot >= 0:
        jobs[slot] = job
        run_elsewhere(native_ids, worker_count, wanted)
        ATOMIC_ADD(&news, 1)
        while sleeper_count and waking < wanted - ATOMIC_READ(&spinning) - hired:
            count_sleepers(-1)
            woken[waking] = sleepers[sleeper_count]
            waking += 1
    PyThread_release_lock(mutex)
    for i in range(waking):
        PyThread_release_lock(workers[woken[i]].sleep)


cdef void withdraw(Job *job) noexcept nogil:
    # returns when no worker holds the job, and none can take it up
    cdef Py_ssize_t i, looks = 0
    PyThread_acquire_lock(mutex, WAIT_LOCK)
    for i in range(MAX_JOBS):
        if jobs[i] == job:
            jobs[i] = NULL
    PyThread_release_lock(mutex)
    while ATOMIC_READ(&job.inside) > 0 and job.forks == forks:
        looks += 1
        rest(looks)


cdef void judge(Job *job, long long begun) noexcept nogil:
    # has nothing split for a while where threads take turns
    global turns, alone_until
    cdef long long now = monotonic(), took = now - begun, lost = took - job.worked
    if 0 < job.worked < least_gain * took:      # 0 where the clock is too coarse to tell
        turns += 1
    else:
        turns = 0
    if turns > 1:
        alone_until = now + min(<long long> (alone * took), longest_alone)
    if job.worked > 0 and lost > most_loss * job.worked:
        alone_until = max(alone_until,
                          now + min(<long long> (alone_after_loss * lost), longest_alone))


cdef int run_tasks(
    Task task, void *context, const Py_ssize_t *parts, Py_ssize_t phases, Py_ssize_t threads
) except -1:
    # runs all tasks, of which there are parts[phase] in each phase, on up to so many threads;
    # raises what a signal's handler raises, when no task is under way any more
    cdef Job job
    cdef Pulse pulse
    cdef Py_ssize_t phase, hired = hire(threads - 1)
    cdef long long begun = monotonic()
    job.task, job.context, job.parts = task, context, parts
    job.total = job.next = job.over = job.stopped = job.worked = job.inside = 0
    for phase in range(phases):
        job.total += parts[phase]
    job.wanted, job.forks, job.is_shared = threads - 1, forks, threads > 1
    pulse.job, pulse.is_main = &job, PyThread_get_thread_ident() == main_thread
    with nogil:
        pulse.next_look = begun + LOOK_EVERY
        if threads > 1:
            announce(&job, hired)
        take_part(&pulse)
        wait_for(&pulse, job.total)
        if threads > 1:
            withdraw(&job)
            if hired == 0:
                judge(&job, begun)
    if job.forks != forks and PyErr_Occurred() == NULL:
        raise RuntimeError("this process was forked by a signal handler in the middle of a pass")
    return -1 if job.stopped else 0


include "strands.pyx"


# --- for tests ---------------------------------------------------------------------------------

cdef struct Rehearsal:
    const Py_ssize_t *parts
    Py_ssize_t *notes           # (tasks, 3)
    Py_ssize_t events           # tasks that have begun, and those that are over
    Py_ssize_t begun
    Py_ssize_t together
    long long takes             # ns
    bint in_turns


cdef void rehearse_task(
    Rehearsal *r, Py_ssize_t phase, Py_ssize_t part, Pulse *pulse
) noexcept nogil:
    cdef Py_ssize_t k
    cdef Py_ssize_t *note = r.notes + 3 * part
    cdef long long start
    for k in range(phase):
        note += 3 * r.parts[k]
    note[0], note[2] = ATOMIC_ADD(&r.events, 1), <Py_ssize_t> NATIVE_ID()
    ATOMIC_ADD(&r.begun, 1)
    if r.in_turns:
        lock_packing()
        start = thread_time()
        while thread_time() - start < r.takes:
            PAUSE()
        unlock_packing()
    else:
        start = monotonic()
        while (monotonic() - start < r.takes or ATOMIC_READ(&r.begun) < r.together) \
                and not must_stop(pulse):
            PAUSE()
    note[1] = ATOMIC_ADD(&r.events, 1)


def rehearse_judging(long long took, long long worked):
    """Judge a pass that took so many ns, and whose tasks did work of so many, for tests."""
    cdef Job job
    job.worked = worked
    judge(&job, monotonic() - took)


def rehearse(
    bytearray notes, bytes sizes, Py_ssize_t threads, long long takes, Py_ssize_t together,
    bint in_turns,
):
    """Run tasks that do nothing but note that they ran, for tests.

    Parameters
    ----------
    notes : bytearray
        Three Py_ssize_t a task: when it began and when it was over (places in one order of all that
        happened), and which thread ran it, where the system has numbers for threads.
    sizes : bytes
        How many tasks each phase has, each a Py_ssize_t.
    threads : int
    takes : int
        How many ns a task takes.
    together : int
        So many tasks must have begun before any is over.
    in_turns : bool
        Whether only one works at a time, with the lock of packing held; it takes so much of its
        thread's processor time then.
    """
    cdef Rehearsal r
    r.parts, r.notes = <const Py_ssize_t *> <const char *> sizes, <Py_ssize_t *> <char *> notes
    r.events = r.begun = 0
    r.together, r.takes, r.in_turns = together, takes, in_turns
    run_tasks(<Task> rehearse_task, &r, r.parts, len(sizes) // sizeof(Py_ssize_t), threads)
