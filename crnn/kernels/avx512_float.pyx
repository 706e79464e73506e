ctypedef float real
include "core.pyx"
