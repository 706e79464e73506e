ctypedef double real
include "core.pyx"
