# Where arrays lie: the edge between what Python holds and what loops go through.

cdef inline real *pointer(object a) noexcept:
    # to the first number of an array of the build's dtype; NULL of None
    return NULL if a is None else <real *> cnp.PyArray_DATA(<cnp.ndarray> a)


cdef inline Py_ssize_t *indices(object a) noexcept:
    # to the first of an array of tokens, lengths or classes; NULL of None
    return NULL if a is None else <Py_ssize_t *> cnp.PyArray_DATA(<cnp.ndarray> a)


cdef inline bint is_ready(object a, int type_number) noexcept:
    # whether it is an aligned, C-contiguous native array of this type
    return (type(a) is cnp.ndarray and cnp.PyArray_TYPE(<cnp.ndarray> a) == type_number
            and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> a))


cdef inline copied(object a):
    # a copy of an array, C-contiguous
    return cnp.PyArray_NewCopy(<cnp.ndarray> a, cnp.NPY_CORDER)


# --- for tests: edges of single formulas ---------------------------------------------------------

cdef real *numbers(object a) except? NULL:
    # as pointer, of an array that loops can take as it is
    if a is not None and not is_ready(a, cnp.NPY_FLOAT if REAL_IS_FLOAT else cnp.NPY_DOUBLE):
        raise TypeError("a C-contiguous array of this build's dtype is wanted")
    return pointer(a)


cdef int all_numbers(real **to, tuple arrays) except -1:
    cdef Py_ssize_t i
    for i in range(len(arrays)):
        to[i] = numbers(arrays[i])
    return 0
