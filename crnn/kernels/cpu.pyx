"""What this processor can do, what built this package, where a thread runs, and how it waits."""

cimport cython

cdef extern from *:
    """
    #ifdef CRNN_X86_64_BUILDS  /* setup.py builds more than the baseline, with gcc or clang */
    #define HAS_AVX2() (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    #define HAS_AVX512() (HAS_AVX2() \\
        && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") \\
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    #else
    #define HAS_AVX2() 0
    #define HAS_AVX512() 0
    #endif

    #if defined(__clang__)
    #define COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define COMPILER "gcc " __VERSION__
    #elif defined(_MSC_VER)
    #define COMPILER "msvc"
    #else
    #define COMPILER "unknown"
    #endif

    #if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
    #define PAUSE() __builtin_ia32_pause()
    #else
    #define PAUSE()
    #endif

    #ifdef __linux__
    #include <sched.h>
    #define CURRENT() sched_getcpu()
    #else
    #define CURRENT() (-1)
    #endif

    /* what another thread may be writing */
    #if defined(__GNUC__)
    #define READ(place) __atomic_load_n((place), __ATOMIC_ACQUIRE)
    #else
    #define READ(place) (*(volatile Py_ssize_t *) (place))
    #endif
    """
    bint HAS_AVX2()
    bint HAS_AVX512()
    const char *COMPILER
    void PAUSE() nogil
    int CURRENT() nogil
    Py_ssize_t READ(Py_ssize_t *place) nogil

cdef enum:                  # pauses, of 12 ns (Intel's Sapphire Rapids) to 20 ns (AMD's Zen 5)
    LOOKS = 25000           # 0.3 ms and more
    GIVES_WAY = 600         # 7 us and more


@cython.final
cdef class Progress:
    """How many of some tasks are over, for threads that wait for each other."""

    cdef Py_ssize_t over

    def add(self):
        """Count one more."""
        self.over += 1

    def reaches(self, Py_ssize_t n):
        """Return whether n are over; look for 0.3 ms or so, with the GIL released."""
        cdef int _
        if self.over >= n:
            return True
        with nogil:
            for _ in range(LOOKS):
                if READ(&self.over) >= n:
                    break
                PAUSE()
            # Who counted the last one has the GIL, and is about to release it for what is next. To
            # ask for it before would be to sleep, and to be woken, which takes much longer.
            for _ in range(GIVES_WAY):
                PAUSE()
        return self.over >= n


def current():
    """Return the number of the processor that this thread is on now, or -1 if it is not known."""
    return CURRENT()


def instruction_sets():
    """Names of the builds that this processor can run, the fastest first."""
    cdef list names = ["baseline"]
    if HAS_AVX2():
        names.insert(0, "avx2")
    if HAS_AVX512():
        names.insert(0, "avx512")
    return names


def compiler():
    """Name and version of the C compiler that built this module."""
    return COMPILER.decode().strip()
