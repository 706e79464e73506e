"""Ctrl-C and SIGTERM, answered where nothing is half done."""

import contextlib
import signal
import threading


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is answered as Ctrl-C is."""


def raise_terminated(signum, frame):
    """Answer SIGTERM as Python answers Ctrl-C: what `terminable` makes its handler."""
    raise Terminated


ERRORS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: raise_terminated}


@contextlib.contextmanager
def terminable():
    """A context in which SIGTERM raises `Terminated`, rather than ending the process at once.

    Outside the main thread, or where the signal has another handler, nothing is changed.
    """
    changes = _in_main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if changes:
        signal.signal(signal.SIGTERM, raise_terminated)
    try:
        yield
    finally:
        if changes:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


class DeferredInterrupt:
    """A context in which a first Ctrl-C interrupts nothing: it only makes this object true.

    A second Ctrl-C raises at once. If only one came, it raises when the context ends, unless
    KeyboardInterrupt has been raised by then. Inside `terminable`, SIGTERM is deferred likewise.
    Outside the main thread, or where a signal has another handler, nothing is changed.

    Attributes
    ----------
    error : type
        What is to be raised for the signal that came: KeyboardInterrupt, or `Terminated`.
    """

    def __init__(self):
        self.error, self._deferred = None, []

    def __bool__(self):
        return self.error is not None

    def __enter__(self):
        if _in_main_thread():
            self._deferred = [
                signum for signum, handler in HANDLERS.items()
                if signal.getsignal(signum) is handler
            ]
        for signum in self._deferred:
            signal.signal(signum, self._handle)
        return self

    def _handle(self, signum, frame):
        if self.error is not None:
            HANDLERS[signum](signum, frame)
        self.error = ERRORS[signum]

    def __exit__(self, kind, error, traceback):
        for signum in self._deferred:
            signal.signal(signum, HANDLERS[signum])
        if self.error is not None and not isinstance(error, KeyboardInterrupt):
            raise self.error from error


def _in_main_thread():
    return threading.current_thread() is threading.main_thread()
