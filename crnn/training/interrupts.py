"""Ctrl-C, answered where nothing is half done."""

import signal
import threading


class DeferredInterrupt:
    """A context in which a first Ctrl-C interrupts nothing: it only makes this object true.

    A second Ctrl-C raises at once. If only one came, it raises when the context ends, unless
    KeyboardInterrupt has been raised by then. Outside the main thread, or where the signal has
    another handler, nothing is changed.
    """

    def __init__(self):
        self._came = self._handles = False

    def __bool__(self):
        return self._came

    def __enter__(self):
        in_main = threading.current_thread() is threading.main_thread()
        self._handles = in_main and (
            signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._handles:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, signum, frame):
        if self._came:
            signal.default_int_handler(signum, frame)
        self._came = True

    def __exit__(self, kind, error, traceback):
        if self._handles:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._came and not isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt from error
