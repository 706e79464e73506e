"""All or nothing: faults, kills and other threads never leave a part of a file."""

import contextlib
import errno
import os
import random
import re
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from forged_files import posix, temporaries

from crnn.files import container, disk

pytestmark = pytest.mark.no_backend

HOUR = 3600
CALLS = ("open", "write", "fsync", "close", "replace")


def record_calls(monkeypatch, before=lambda number: None):
    """Record the calls that change the disk; `before` may make the n-th of them fail."""
    calls = []

    def wrap(name):
        real = getattr(os, name)

        def call(*arguments, **keywords):
            calls.append((name, arguments))
            try:
                before(len(calls))
            except BaseException:
                if name == "close":
                    real(*arguments)
                raise
            return real(*arguments, **keywords)

        monkeypatch.setattr(container.os, name, call)

    for name in CALLS:
        wrap(name)
    return calls


def test_order_of_calls(tmp_path, monkeypatch):
    """Data on the disk before the name, the name on the disk before the return."""
    (tmp_path / "m").write_bytes(b"old")
    calls = record_calls(monkeypatch)
    disk.write_bytes(tmp_path / "m", b"new")
    monkeypatch.undo()
    wanted = ["open", "write", "fsync", "close", "replace"]
    wanted += [] if os.name == "nt" else ["open", "fsync", "close"]
    assert [name for name, _ in calls] == wanted
    temporary, flags, mode = calls[0][1]
    assert re.fullmatch(r"\.m\.[0-9a-f]{16}\.tmp", os.path.basename(temporary))
    assert os.path.dirname(temporary) == os.path.realpath(tmp_path)
    assert flags & os.O_CREAT
    assert flags & os.O_EXCL
    assert mode == 0o666 & stat.S_IMODE((tmp_path / "m").stat().st_mode)
    assert calls[1][1][0] == calls[2][1][0] == calls[3][1][0]  # the same descriptor
    assert calls[4][1] == (temporary, os.path.realpath(tmp_path / "m"))
    if os.name != "nt":
        assert calls[5][1][0] == os.path.realpath(tmp_path)
        assert calls[6][1] == calls[7][1]


@pytest.mark.parametrize("fault", [
    OSError(errno.ENOSPC, "disk full"), OSError(errno.EIO, "I/O error"), KeyboardInterrupt(),
    MemoryError()], ids=repr)  # fmt: skip
@pytest.mark.parametrize("ever_after", [False, True], ids=["once", "ever after"])
@pytest.mark.parametrize("old", [None, b"old"], ids=["new file", "old file"])
def test_fault_at_every_call(tmp_path, monkeypatch, fault, ever_after, old):
    """The n-th call fails, n = 1, 2, 3..., until writing succeeds."""
    path = tmp_path / "m"
    for n in range(1, 20):
        path.unlink(missing_ok=True)
        if old is not None:
            path.write_bytes(old)

        def before(number, n=n):
            if number == n or (ever_after and number > n):
                raise fault

        with monkeypatch.context() as patch:
            calls = record_calls(patch, before)
            with contextlib.suppress(type(fault)):
                disk.write_bytes(path, b"new")
                break
        replaced = [name for name, _ in calls[: n - 1]].count("replace")
        content = path.read_bytes() if path.exists() else None
        assert content == (b"new" if replaced else old), n
        assert not temporaries(tmp_path), n
    else:
        pytest.fail("writing never succeeded")
    assert n == (6 if os.name == "nt" else 9)  # every call had its turn
    assert path.read_bytes() == b"new"


@posix
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EACCES])
def test_directories_that_cannot_be_synchronised(tmp_path, monkeypatch, code):
    def before(number):
        if number == 7:
            raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        calls = record_calls(patch, before)
        disk.write_bytes(tmp_path / "m", b"new")
    assert calls[6][0] == "fsync"
    assert (tmp_path / "m").read_bytes() == b"new"


def test_an_error_names_the_file_that_was_to_be_written(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(errno.EPERM, "not yours", source, None, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError) as caught:
        disk.write_bytes(tmp_path / "model", b"new")
    assert str(caught.value) == f"[Errno {errno.EPERM}] not yours: {str(tmp_path / 'model')!r}"


@posix
@pytest.mark.parametrize("number", [6, 7])  # where the folder is opened and synchronised
def test_an_error_of_the_folder_names_the_file_too(tmp_path, monkeypatch, number):
    def before(now):
        if now == number:
            raise OSError(errno.EIO, "I/O error")

    with monkeypatch.context() as patch:
        record_calls(patch, before)
        with pytest.raises(OSError, match="I/O error") as caught:
            disk.write_bytes(tmp_path / "model", b"new")
    assert caught.value.filename == str(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == b"new"


def test_a_copy_takes_the_way_of_every_file(tmp_path, monkeypatch):
    (tmp_path / "m").write_bytes(b"old")
    calls = record_calls(monkeypatch)
    disk.copy(tmp_path / "m", tmp_path / "m.old")
    monkeypatch.undo()
    assert [name for name, _ in calls[:5]] == ["open", "write", "fsync", "close", "replace"]
    assert calls[0][1][1] & os.O_EXCL
    assert (tmp_path / "m.old").read_bytes() == (tmp_path / "m").read_bytes() == b"old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["m", "m.old"]


@posix
@pytest.mark.parametrize("there", [None, 0o644], ids=["new", "there"])
@pytest.mark.parametrize(("mode", "wanted"), [(0o600, 0o600), (0o755, 0o644), (0o640, 0o640)])
def test_a_copy_is_as_private_as_what_it_is_of(tmp_path, there, mode, wanted):
    (tmp_path / "m").write_bytes(b"old")
    (tmp_path / "m").chmod(mode)
    if there is not None:
        (tmp_path / "m.old").touch(there)
    old = os.umask(0o022)
    try:
        disk.copy(tmp_path / "m", tmp_path / "m.old")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "m.old").stat().st_mode) == wanted


def test_short_writes(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(container.os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    disk.write_bytes(tmp_path / "m", bytes(range(100)))
    assert (tmp_path / "m").read_bytes() == bytes(range(100))


def test_readers_see_whole_files_while_another_thread_writes(tmp_path):
    path, stop = tmp_path / "m", threading.Event()
    container.write(path, {"w": np.full(1000, 0.0)}, {"step": "0"})

    def keep_writing():
        step = 0
        while not stop.is_set():
            step += 1
            container.write(path, {"w": np.full(1000, float(step))}, {"step": str(step)})

    writers = [threading.Thread(target=keep_writing) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(100):
            tensors, metadata = container.read(path)
            assert (tensors["w"] == float(metadata["step"])).all()
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert not temporaries(tmp_path)


def test_stale_temporaries_are_swept(tmp_path):
    old = time.time() - HOUR - 60
    stale = tmp_path / ".m.0123456789abcdef.tmp"
    others = [
        *(".n.0123456789abcdef.tmp", ".m.x.0123456789abcdef.tmp", "m.0123456789abcdef.tmp"),
        *(".m.0123456789abcdef.tmp2", ".m.0123456789ABCDEG.tmp", ".m.tmp", ".m.01.tmp", "m.tmp"),
    ]
    kept = [tmp_path / name for name in others]
    for path in (stale, *kept):
        path.write_bytes(b"")
        os.utime(path, (old, old))
    fresh = tmp_path / ".m.fedcba9876543210.tmp"
    fresh.write_bytes(b"")
    os.utime(fresh, (old + 120, old + 120))
    folder = tmp_path / ".m.00000000000000ff.tmp"  # cannot be unlinked: must not matter
    folder.mkdir()
    os.utime(folder, (old, old))
    disk.write_bytes(tmp_path / "m", b"new")
    assert not stale.exists()
    assert all(path.exists() for path in (*kept, fresh, folder))


WRITER = """
import sys
import numpy as np
from crnn.files import container
step = int(sys.argv[2])
while True:
    step += 1
    container.write(sys.argv[1], {"w": np.full(5000, float(step))}, {"step": str(step)})
    print(step, flush=True)
"""


@posix
def test_kill_at_random_moments(tmp_path):
    """A killed writer leaves a whole file, no older than the last step it reported."""
    path, seed = tmp_path / "m", random.randrange(2**32)
    print("seed", seed)
    moments = random.Random(seed)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    last = 0
    for _ in range(20):
        command = [sys.executable, "-c", WRITER, os.fspath(path), str(last)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            reported = process.stdout.readline()
            time.sleep(moments.uniform(0, 0.02))
            process.kill()
            reported += process.stdout.read()
        last = int(reported[: reported.rindex(b"\n")].split()[-1])
        tensors, metadata = container.read(path)
        step = int(metadata["step"])
        assert last <= step <= last + 1
        assert tensors["w"].shape == (5000,)
        assert (tensors["w"] == step).all()
    for temporary in temporaries(tmp_path):
        os.utime(temporary, (0, 0))
    disk.write_bytes(path, b"")
    assert not temporaries(tmp_path)
