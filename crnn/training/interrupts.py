"""Ctrl-C, answered where nothing is half done."""

import signal
import threading


class DeferredInterrupt:
    """While it is entered, Ctrl-C interrupts nothing half done: it only makes this true.

    A second Ctrl-C raises at once. A first one that nobody has answered raises at the end. Outside
    the main thread, or where somebody else handles the signal, nothing is changed.
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
