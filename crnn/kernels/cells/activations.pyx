# exp(x) = 2^n exp(r), where x = n ln 2 + r and |r| <= ln(2) / 2; exp(r) - 1 is a polynomial, its
# terms in pairs, which do not wait for each other: its Taylor series or, in float where sums of
# products are rounded once, one of degree 6 that was fitted for the least relative error, below
# |r| = 0.2 at double weight, where tanh has nothing else to hide it: 1.8e-8 at most, as the Taylor
# series of degree 7. Where they are rounded twice, it would be beyond the bounds below by a little.
# tanh(x) = e / (e + 2) with e = exp(2|x|) - 1, and the sign of x put back. Nothing cancels, so that
# the error of tanh stays below 2.5 (float) and 3 (double) units in the last place; NaN stays NaN,
# the sign of zero is kept and tanh is never beyond 1. The error of the sigmoid stays below 2.5
# units in both, from -87 (float) or -708 (double) on; below it is 0.
# Branch-free, so that loops over them vectorize. Whole numbers are cast: Cython writes a bare 2 as
# a double.
# hard_sigmoid is x / 6 + 1/2 (Keras 3, PyTorch), hard_sigmoid_0.2 is 0.2 x + 1/2 (Keras 2, ONNX),
# both within 0 and 1.

from libc.math cimport copysign, copysignf, fabs, fabsf
from libc.stdint cimport uint32_t, uint64_t

cdef enum Function:
    LINEAR, TANH, RELU, LOGISTIC, HARD_SIGMOID, HARD_SIGMOID_02, SOFTMAX_OF_ROW

FUNCTIONS = {"linear": LINEAR, "tanh": TANH, "relu": RELU, "sigmoid": LOGISTIC,
             "hard_sigmoid": HARD_SIGMOID, "hard_sigmoid_0.2": HARD_SIGMOID_02,
             "softmax": SOFTMAX_OF_ROW}     # in dense.pyx, as it is no function of each number

cdef struct Activation:         # of a cell's gates or candidate: f(a), or f(clip(a))
    Function function
    bint clips
    real bound                  # a is brought into [-bound, bound] first
    real lowest, highest        # f(-bound) and f(bound)


cdef union FloatBits:
    float value
    uint32_t bits

cdef union DoubleBits:
    double value
    uint64_t bits


cdef inline float exp_less_1_float(float r) noexcept nogil:
    cdef float p, r2 = r * r
    if HAS_FMA:
        p = multiply_add_float(<float> 8.36356636e-3, r, <float> 4.16669212e-2)
        p = multiply_add_float(<float> 1.38913072e-3, r2, p)
        p = multiply_add_float(p, r2, multiply_add_float(<float> 0.166665748, r, <float> 0.5))
    else:
        p = multiply_add_float(<float> (1.0 / 5040.0), r, <float> (1.0 / 720.0))
        p = multiply_add_float(
            p, r2, multiply_add_float(<float> (1.0 / 120.0), r, <float> (1.0 / 24.0)))
        p = multiply_add_float(p, r2, multiply_add_float(<float> (1.0 / 6.0), r, <float> 0.5))
    return multiply_add_float(p, r2, r)


cdef inline float power_of_2(float shifted) noexcept nogil:
    # 2^n of n + 1.5 * 2^23 + 127, a sum that was rounded to a whole number: its last bits are the
    # exponent's
    cdef FloatBits number
    number.value = shifted
    number.bits = number.bits << 23
    return number.value


cdef inline float split_exp_float(float x, float *power) noexcept nogil:
    # returns exp(r) - 1 and leaves 2^n in power; means nothing unless n is from -126 to 127
    cdef float r, shifted = multiply_add_float(x, <float> 1.44269504, <float> 12583039)
    cdef float n = shifted - <float> 12583039
    r = multiply_add_float(n, <float> -0.693359375, x)        # ln 2 in two parts
    r = multiply_add_float(n, <float> 2.12194440e-4, r)
    power[0] = power_of_2(shifted)
    return exp_less_1_float(r)


cdef inline double split_exp_double(double x, double *power) noexcept nogil:
    # returns exp(r) - 1 and leaves 2^n in power; means nothing unless n is from -1022 to 1023
    cdef double shifted, n, r, r2, p
    cdef DoubleBits two_to_n
    shifted = multiply_add_double(x, 1.4426950408889634, 6755399441056767.0)   # 1.5 * 2^52 + 1023
    n = shifted - 6755399441056767.0
    r = multiply_add_double(n, -6.93147180369123816490e-01, x)
    r = multiply_add_double(n, -1.90821492927058770002e-10, r)
    r2 = r * r
    p = multiply_add_double(1.0 / 6227020800.0, r, 1.0 / 479001600.0)
    p = multiply_add_double(p, r2, multiply_add_double(1.0 / 39916800.0, r, 1.0 / 3628800.0))
    p = multiply_add_double(p, r2, multiply_add_double(1.0 / 362880.0, r, 1.0 / 40320.0))
    p = multiply_add_double(p, r2, multiply_add_double(1.0 / 5040.0, r, 1.0 / 720.0))
    p = multiply_add_double(p, r2, multiply_add_double(1.0 / 120.0, r, 1.0 / 24.0))
    p = multiply_add_double(p, r2, multiply_add_double(1.0 / 6.0, r, 0.5))
    two_to_n.value = shifted
    two_to_n.bits = two_to_n.bits << 52
    power[0] = two_to_n.value
    return multiply_add_double(p, r2, r)


cdef inline float tanh_float(float x) noexcept nogil:
    # without split_exp_float, for less to wait for: n comes from |x|, and ln 2 is one number, as of
    # its error, 2e-9 n in exp(2|x|), tanh sees the less the larger n is
    cdef float e, z = <float> 2 * fabsf(x)
    cdef float shifted = multiply_add_float(fabsf(x), <float> 2.88539008, <float> 12583039)
    cdef float n = shifted - <float> 12583039, power = power_of_2(shifted)
    e = exp_less_1_float(multiply_add_float(n, <float> -0.693147181, z))
    e = multiply_add_float(power, e, power - <float> 1)
    e = e / (e + <float> 2)
    return copysignf(<float> 1 if z > <float> 18.5 else e, x)       # from here on tanh rounds to 1


cdef inline double tanh_double(double x) noexcept nogil:
    cdef double z, p, power, e
    z = 2 * fabs(x)
    p = split_exp_double(z, &power)
    e = multiply_add_double(power, p, power - 1)
    e = e / (e + 2)
    return copysign(1 if z > 38.5 else e, x)


cdef inline float exp_below_1_float(float x) noexcept nogil:
    # exp(x) of x <= 0; 0 where it would be denormal
    cdef float power, p = split_exp_float(x, &power)
    return <float> 0 if x < <float> -87 else multiply_add_float(power, p, power)


cdef inline double exp_below_1_double(double x) noexcept nogil:
    cdef double power, p = split_exp_double(x, &power)
    return 0 if x < -708 else multiply_add_double(power, p, power)


cdef inline float sigmoid_float(float x) noexcept nogil:
    # 1 / (1 + exp(-x)); 0 or 1 at the ends, where the power of 2 means nothing
    cdef float power, p = split_exp_float(-x, &power)
    p = <float> 1 / multiply_add_float(power, p, <float> 1 + power)
    return <float> 0 if x < <float> -87 else <float> 1 if x > <float> 87 else p


cdef inline double sigmoid_double(double x) noexcept nogil:
    cdef double power, p = split_exp_double(-x, &power)
    p = 1 / multiply_add_double(power, p, 1 + power)
    return 0 if x < -708 else 1 if x > 708 else p


cdef inline real tanh_of(real x) noexcept nogil:
    return <real> tanh_float(<float> x) if REAL_IS_FLOAT else <real> tanh_double(x)


cdef inline real sigmoid_of(real x) noexcept nogil:
    return <real> sigmoid_float(<float> x) if REAL_IS_FLOAT else <real> sigmoid_double(x)


cdef inline real exp_below_1(real x) noexcept nogil:
    return <real> exp_below_1_float(<float> x) if REAL_IS_FLOAT else <real> exp_below_1_double(x)


cdef inline inlined_void activate(real *h, Py_ssize_t n, bint relu) noexcept nogil:
    # h (n,) = np.maximum(h, 0) if relu else np.tanh(h)
    cdef Py_ssize_t j
    if relu:
        for j in range(n):
            h[j] = 0 if h[j] < 0 else h[j]    # in this order NaN stays NaN
    else:
        for j in range(n):
            h[j] = tanh_of(h[j])


cdef inline inlined_void sigmoid(real *a, Py_ssize_t n) noexcept nogil:
    # a (n,) = 1 / (1 + exp(-a))
    cdef Py_ssize_t j
    for j in range(n):
        a[j] = sigmoid_of(a[j])


cdef inline void multiply(real *y, const real *a, const real *b, Py_ssize_t n) noexcept nogil:
    # y (n,) = a * b
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = a[j] * b[j]


cdef inline inlined_void add_multiplied(
    real *y, const real *a, const real *b, Py_ssize_t n
) noexcept nogil:
    # y (n,) += a * b
    cdef Py_ssize_t j
    for j in range(n):
        y[j] = multiply_add(a[j], b[j], y[j])


cdef outlined_void take_state_gradient(real *dh, real *dstate, Py_ssize_t n) noexcept nogil:
    # dh (n,) += dstate; dstate = 0
    cdef Py_ssize_t j
    for j in range(n):
        dh[j] = dh[j] + dstate[j]
        dstate[j] = 0


cdef inline real sigmoid_slope(real y) noexcept nogil:
    # the derivative of the sigmoid where it is y
    return y * (<real> 1 - y)


cdef inline real tanh_slope(real y) noexcept nogil:
    # the derivative of tanh where it is y
    return <real> 1 - y * y


cdef inline real activation_slope(real y, bint relu) noexcept nogil:
    # the derivative of ReLU or tanh where it is y
    if relu:
        return <real> 1 if y > 0 else <real> 0
    return tanh_slope(y)


cdef inline void back_through_activation(
    real *dh, real *dstate, const real *h, Py_ssize_t n, bint relu
) noexcept nogil:
    # dh (n,) = (dh + dstate) * f'(a), where f' is written in terms of h = f(a); dstate (n,) = 0
    cdef Py_ssize_t j
    for j in range(n):
        dh[j] = (dh[j] + dstate[j]) * activation_slope(h[j], relu)
        dstate[j] = 0


cdef inline void hard_sigmoid(real *a, Py_ssize_t n, real factor) noexcept nogil:
    # a (n,) = np.clip(factor * a + 0.5, 0, 1)
    cdef Py_ssize_t j
    cdef real line
    for j in range(n):
        line = multiply_add(factor, a[j], <real> 0.5)
        a[j] = <real> 0 if line < 0 else <real> 1 if line > 1 else line     # NaN stays NaN


cdef inline real hard_sigmoid_factor(Function function) noexcept nogil:
    return <real> (1.0 / 6.0) if function == HARD_SIGMOID else <real> 0.2


cdef outlined_void apply_function(real *a, Py_ssize_t n, Function function) noexcept nogil:
    # a (n,) = f(a)
    if function == LOGISTIC:
        sigmoid(a, n)
    elif function == HARD_SIGMOID or function == HARD_SIGMOID_02:
        hard_sigmoid(a, n, hard_sigmoid_factor(function))
    elif function == TANH:
        activate(a, n, False)
    elif function == RELU:
        activate(a, n, True)


cdef outlined_void multiply_by_slope(
    real *d, const real *y, Py_ssize_t n, Function function
) noexcept nogil:
    # d (n,) *= f'(a), in terms of y = f(a)
    cdef Py_ssize_t j
    cdef real factor = hard_sigmoid_factor(function)
    if function == LOGISTIC:
        for j in range(n):
            d[j] = d[j] * sigmoid_slope(y[j])
    elif function == HARD_SIGMOID or function == HARD_SIGMOID_02:
        for j in range(n):
            d[j] = d[j] * (factor if 0 < y[j] < 1 else <real> 0)
    elif function == TANH:
        for j in range(n):
            d[j] = d[j] * tanh_slope(y[j])
    elif function == RELU:
        for j in range(n):
            d[j] = d[j] * (<real> 1 if y[j] > 0 else <real> 0)


cdef Activation activation_of(str name, double clip):
    # clip: the bound, or 0 for none
    cdef Activation f
    f.function, f.clips, f.bound = FUNCTIONS[name], clip > 0, <real> clip
    f.lowest, f.highest = -f.bound, f.bound
    apply_function(&f.lowest, 1, f.function)
    apply_function(&f.highest, 1, f.function)
    return f


cdef outlined_void apply_activation(
    real *a, Py_ssize_t n, const Activation *f
) noexcept nogil:
    # a (n,) = f(a)
    cdef Py_ssize_t j
    cdef real bound = f.bound
    if f.clips:
        for j in range(n):
            a[j] = bound if a[j] > bound else -bound if a[j] < -bound else a[j]
    apply_function(a, n, f.function)


cdef outlined_void multiply_by_activation_slope(
    real *d, const real *y, Py_ssize_t n, const Activation *f
) noexcept nogil:
    # d (n,) *= f'(a), in terms of y = f(a). What f has made of a clipped a is known again: all
    # functions rise, so that it is what the bound becomes. An a so near the bound that rounding
    # makes the same of it counts as clipped.
    cdef Py_ssize_t j
    cdef real lowest = f.lowest, highest = f.highest
    multiply_by_slope(d, y, n, f.function)
    if f.clips:
        for j in range(n):
            d[j] = <real> 0 if y[j] <= lowest or y[j] >= highest else d[j]


def activation(real[::1] a not None, str name, double clip=0):
    cdef Activation f = activation_of(name, clip)
    if a.shape[0]:
        with nogil:
            apply_activation(&a[0], a.shape[0], &f)
