include "core.pyx"
