"""The compiled kernels: one source, built once for each instruction set (see ``core.pyx``)."""
