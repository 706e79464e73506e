"""What this processor can do, and what built this package."""

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
    """
    bint HAS_AVX2()
    bint HAS_AVX512()
    const char *COMPILER


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
