"""The compiled kernels, built once for each instruction set and dtype (see ``core.pyx``)."""
