"""What this processor can do, and what built this package."""

cdef extern from *:
    """
    #ifdef CRNN_X86_64_BUILDS  /* setup.py builds more than the baseline, with gcc or clang */
    #define HAS_AVX2() (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    #define HAS_AVX512() (HAS_AVX2() \\
        && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") \\
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    #define HAS_VNNI() (HAS_AVX512() && __builtin_cpu_supports("avx512vnni"))
    #include <cpuid.h>
    static int HAS_BF16(void) {     /* by its bit, as gcc 9 has no name for it */
        unsigned int features, b, c, d;
        return HAS_AVX512() && __get_cpuid_count(7, 1, &features, &b, &c, &d)
            && ((features >> 5) & 1);
    }
    #else
    #define HAS_AVX2() 0
    #define HAS_AVX512() 0
    #define HAS_VNNI() 0
    #define HAS_BF16() 0
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
    bint HAS_VNNI()
    bint HAS_BF16()
    const char *COMPILER


def instruction_sets():
    """Names of the builds that this processor can run, the fastest first."""
    cdef list names = ["baseline"]
    if HAS_AVX2():
        names.insert(0, "avx2")
    if HAS_AVX512():
        names.insert(0, "avx512")
    return names


def has_vnni():
    """Whether it multiplies and adds up bytes at once, which not all do that have AVX-512."""
    return HAS_VNNI()


def has_bf16():
    """Whether it multiplies and adds up two bfloat16 at once, which few do that have AVX-512."""
    return HAS_BF16()


def compiler():
    """Name and version of the C compiler that built this module."""
    return COMPILER.decode().strip()
