"""Files on disk: replaced whole or not at all, and nothing but regular ones.

What the files hold is not known here.
"""

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from typing import BinaryIO

from crnn.files.printable import printable, shortened

PathLike = str | os.PathLike[str]

_KINDS = {"p": "FIFO", "s": "socket", "c": "character device", "b": "block device"}
_NO_DIRECTORY_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES}  # some network file systems


class FormatError(ValueError):
    """A file that is not what it should be: damaged, of another kind, or from a newer crnn.

    The message is one line, and no long one, whatever the file holds: see `printable`.
    """

    LONGEST = 4000

    def __init__(self, message: str) -> None:
        super().__init__(shortened(printable(message), self.LONGEST))


def write_bytes(path: PathLike, data: bytes, mode: int = 0o666) -> None:
    """Replace a file's content so that readers, and a crash, see all of the old or all of the new.

    The data go to a temporary file beside the target and to the disk before they take its name.
    Symlinks are followed. A new file has the mode as far as the umask lets it; a private file stays
    private.
    Temporary files that killed writers of this target left are removed once they are an hour old.

    Raises
    ------
    OSError
        The disk refused, the old file is untouched. Only if the last step fails, which makes the
        new name durable in its directory, is the new file already in place.
    FormatError
        The target is a FIFO, socket or device, which replacing would destroy.
    """
    target = check_place(path)
    folder, name = os.path.split(target)
    with contextlib.suppress(FileNotFoundError):
        mode &= os.stat(target).st_mode
    _sweep(folder, name)
    temporary = os.path.join(folder, f".{name}.{os.urandom(8).hex()}.tmp")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        _fill(os.open(temporary, flags, mode), data)
        os.replace(temporary, target)
    except BaseException as error:  # KeyboardInterrupt too
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            _name(error, path)
        raise
    if os.name != "nt":  # Windows cannot open directories
        try:
            _fill(os.open(folder, os.O_RDONLY), b"")  # nothing but the fsync
        except OSError as error:
            if error.errno not in _NO_DIRECTORY_SYNC:
                _name(error, path)
                raise


@contextlib.contextmanager
def opened(path: PathLike) -> Iterator[BinaryIO]:
    """Open a regular file to read its bytes.

    Raises
    ------
    TypeError
        The path is none.
    OSError
        It cannot be opened.
    FormatError
        It is a FIFO, socket or device, which is not waited for.
    """
    path = os.fspath(path)  # refuses numbers, which os.stat and open take for descriptors
    regular(path, os.stat(path).st_mode)  # before opening it: that alone makes some devices act
    extra = getattr(os, "O_NONBLOCK", 0)
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | extra)) as file:
        regular(path, os.fstat(file.fileno()).st_mode)  # the name may mean another file by now
        yield file


def copy(source: PathLike, path: PathLike) -> None:
    """Replace a file by a copy of another, as `write_bytes` does; a private one stays private.

    Raises
    ------
    OSError, FormatError
        As `write_bytes`; or the source cannot be read.
    """
    with open(source, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        data = file.read()
    write_bytes(path, data, mode & 0o666)


def _name(error: OSError, path: PathLike) -> None:
    """Have an error name the file that was to be written, not none or the temporary one."""
    error.filename = os.fsdecode(path)
    if error.filename2 is not None:
        del error.filename2


def check_place(path: PathLike) -> str:
    """Return the real path of a file that is to be written, if it can be one.

    Raises
    ------
    TypeError
        The path is none.
    OSError
        Its folder is not there or cannot be written in, or it is a folder itself.
    FormatError
        It is a FIFO, socket or device, which replacing would destroy.
    """
    target = os.path.realpath(os.fsdecode(path))
    folder = os.path.dirname(target)
    named = os.path.dirname(os.fsdecode(path)) or os.curdir  # as the caller wrote it
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "no such folder", named)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "cannot write in folder", named)
    with contextlib.suppress(FileNotFoundError):
        regular(target, os.stat(target).st_mode)
    return target


def _sweep(folder: str, name: str) -> None:
    pattern = re.compile(re.escape(f".{name}.") + r"[0-9a-f]{16}\.tmp")
    oldest = time.time() - 3600
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not pattern.fullmatch(entry.name):
                continue
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    os.unlink(entry.path)


def _fill(descriptor: int, data: bytes) -> None:
    """Write all the data, see them to the disk, close."""
    try:
        rest = memoryview(data)
        while rest:  # one os.write may take less than it is given
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def bad(path: PathLike, message: str) -> FormatError:
    """Return the error that says what is wrong with a file."""
    return FormatError(f"{os.fsdecode(path)!r} {message}")


def regular(path: PathLike, mode: int) -> int:
    """Return the mode, if it is a regular file's; raise what fits if not."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.filemode(mode)[0], "special file")
        raise bad(path, f"is a {kind}; crnn reads and writes regular files only")
    return mode
