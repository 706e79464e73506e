# tanh(x) = e / (e + 2) with e = exp(2|x|) - 1, and the sign of x put back. With 2|x| = n ln 2 + r,
# |r| <= ln(2) / 2: e = 2^n (exp(r) - 1) + (2^n - 1), where exp(r) - 1 is its Taylor series. Nothing
# cancels, so the error stays below 2.5 (float) and 3 (double) units in the last place; NaN stays
# NaN, the sign of zero is kept and the result is never beyond 1. Branch-free, so that loops over
# it vectorise.

from libc.math cimport copysign, copysignf, fabs, fabsf
from libc.stdint cimport uint32_t, uint64_t

cdef union FloatBits:
    float value
    uint32_t bits

cdef union DoubleBits:
    double value
    uint64_t bits


cdef inline float tanh_float(float x) noexcept nogil:
    cdef float z, shifted, n, r, p, e
    cdef FloatBits power
    z = 2 * fabsf(x)
    z = <float> 18.5 if z > <float> 18.5 else z          # from here on tanh rounds to 1
    shifted = z * <float> 1.44269504 + <float> 12582912  # 1.5 * 2^23: rounds to a whole number
    n = shifted - <float> 12582912
    r = z - n * <float> 0.693359375 + n * <float> 2.12194440e-4     # ln 2 in two parts
    p = <float> (1.0 / 5040.0)
    p = p * r + <float> (1.0 / 720.0)
    p = p * r + <float> (1.0 / 120.0)
    p = p * r + <float> (1.0 / 24.0)
    p = p * r + <float> (1.0 / 6.0)
    p = p * r + <float> 0.5
    p = p * r * r + r
    power.value = shifted
    power.bits = (power.bits + 127) << 23                # 2^n
    e = power.value * p + (power.value - 1)
    return copysignf(e / (e + 2), x)


cdef inline double tanh_double(double x) noexcept nogil:
    cdef double z, shifted, n, r, p, e
    cdef DoubleBits power
    z = 2 * fabs(x)
    z = 38.5 if z > 38.5 else z
    shifted = z * 1.4426950408889634 + 6755399441055744.0           # 1.5 * 2^52
    n = shifted - 6755399441055744.0
    r = z - n * 6.93147180369123816490e-01 - n * 1.90821492927058770002e-10
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r * r + r
    power.value = shifted
    power.bits = (power.bits + 1023) << 52
    e = power.value * p + (power.value - 1)
    return copysign(e / (e + 2), x)


cdef inline void activate(real *h, Py_ssize_t n, bint relu) noexcept nogil:
    # h (n,) = np.maximum(h, 0) if relu else np.tanh(h)
    cdef Py_ssize_t j
    if relu:
        for j in range(n):
            h[j] = 0 if h[j] < 0 else h[j]    # in this order NaN stays NaN
    elif real is float:
        for j in range(n):
            h[j] = tanh_float(h[j])
    else:
        for j in range(n):
            h[j] = tanh_double(h[j])


cdef inline void multiply_by_slope(real *d, const real *h, Py_ssize_t n, bint relu) noexcept nogil:
    # d (n,) *= (h > 0) if relu else 1 - h**2, the derivative written in terms of h = f(a)
    cdef Py_ssize_t j
    if relu:
        for j in range(n):
            d[j] = d[j] * (1 if h[j] > 0 else 0)
    else:
        for j in range(n):
            d[j] = d[j] * (1 - h[j] * h[j])


def activation(real[::1] a not None, str nonlinearity):
    cdef Py_ssize_t n = a.shape[0]
    cdef bint relu = nonlinearity == "relu"
    if n:
        with nogil:
            activate(&a[0], n, relu)
