"""Paths: what is not a file, files that change under a reader, names, links and modes."""

import os
import socket
import stat
import threading
from pathlib import Path

import pytest
from forged_files import assert_same, posix, small_file, temporaries

from crnn.files import container, disk
from crnn.files.disk import FormatError

pytestmark = pytest.mark.no_backend


def in_time(function, *arguments, seconds=10):
    """Call a function in a thread that may hang; returns its result or raises its exception."""
    outcome = []

    def call():
        try:
            outcome.append((function(*arguments), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, f"no answer in {seconds} s"
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


# ---- things that are not files


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        container.read(tmp_path / "m")
    with pytest.raises(FileNotFoundError):
        disk.write_bytes(tmp_path / "no" / "m", b"")


def test_directory(tmp_path):
    with pytest.raises(IsADirectoryError):
        container.read(tmp_path)
    (tmp_path / "d").mkdir()
    with pytest.raises(IsADirectoryError):
        disk.write_bytes(tmp_path / "d", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@posix
def test_fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FormatError, match="is a FIFO"):
        in_time(container.read, tmp_path / "fifo")
    with pytest.raises(FormatError, match="is a FIFO"):
        in_time(disk.write_bytes, tmp_path / "fifo", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["fifo"]
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


@posix
def test_fifo_that_takes_a_files_place_before_it_is_opened(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    looked_at = os.stat(tmp_path / "file")
    monkeypatch.setattr(container.os, "stat", lambda *_, **__: looked_at)
    with pytest.raises(FormatError, match="is a FIFO"):
        in_time(container.read, tmp_path / "fifo")


@posix
def test_devices_and_sockets(tmp_path, monkeypatch):
    with pytest.raises(FormatError, match="is a character device"):
        in_time(container.read, "/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # a socket's path must be short
        listener.bind("s")
        with pytest.raises(FormatError, match="is a socket"):
            in_time(container.read, tmp_path / "s")


@posix
def test_files_that_do_not_say_their_size():
    if not os.path.isfile("/proc/self/status"):
        pytest.skip("no /proc")
    with pytest.raises(FormatError):
        in_time(container.read, "/proc/self/status")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    small_file(tmp_path / "m")
    (tmp_path / "m").chmod(0)
    with pytest.raises(PermissionError):
        container.read(tmp_path / "m")


def test_vanished_file(tmp_path, monkeypatch):
    small_file(tmp_path / "m")
    looked_at = os.stat(tmp_path / "m")
    (tmp_path / "m").unlink()
    monkeypatch.setattr(container.os, "stat", lambda *_, **__: looked_at)
    with pytest.raises(FileNotFoundError):
        container.read(tmp_path / "m")


def test_file_that_shrinks_while_it_is_read(tmp_path, monkeypatch):
    small_file(tmp_path / "m")
    parse = container._parse_header

    def shrink_and_parse(path, text):
        os.truncate(path, os.path.getsize(path) - 5)
        return parse(path, text)

    monkeypatch.setattr(container, "_parse_header", shrink_and_parse)

    def open_unbuffered(path, mode, opener):
        return open(path, mode, 0, opener=opener)

    monkeypatch.setattr(disk, "open", open_unbuffered, raising=False)
    with pytest.raises(FormatError, match="damaged"):
        container.read(tmp_path / "m")


def test_file_that_grows_while_it_is_read(tmp_path, monkeypatch):
    """It is taken as it was when it was opened, or else it might never end."""
    tensors, _ = small_file(tmp_path / "m")
    parse = container._parse_header

    def grow_and_parse(path, text):
        with open(path, "ab") as file:
            file.write(b"more")
        return parse(path, text)

    monkeypatch.setattr(container, "_parse_header", grow_and_parse)
    assert_same(container.read(tmp_path / "m")[0], tensors)


def test_a_descriptor_is_no_path(tmp_path):
    small_file(tmp_path / "m")
    with open(tmp_path / "m", "rb") as file, pytest.raises(TypeError):
        container.read(file.fileno())


@pytest.mark.parametrize("path", [0, 1.5, None, ["m"]])
def test_paths_of_another_kind(path):
    with pytest.raises(TypeError):
        container.read(path)
    with pytest.raises(TypeError):
        disk.write_bytes(path, b"")


# ---- names and modes of files


def test_kinds_of_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    up = os.path.join("..", tmp_path.name, "up")
    for path in ("text", Path("pathlike"), str(tmp_path / "absolute"), up):
        container.write(path, {}, {"a": "b"})
        assert container.read(path) == ({}, {"a": "b"})
    assert {path.name for path in tmp_path.iterdir()} == {"text", "pathlike", "absolute", "up"}


@posix
def test_odd_file_names(tmp_path):
    for name in (b"\xff\xfe.crnn", "é (1) [x]*.crnn".encode(), b"-rf", b"a\nb"):
        path = os.fsdecode(os.path.join(os.fsencode(tmp_path), name))
        try:
            Path(path).touch()
        except OSError:
            continue  # a file system with rules for names
        container.write(path, {}, {"a": "b"})
        assert container.read(path) == ({}, {"a": "b"})
        Path(path).write_bytes(b"")
        with pytest.raises(FormatError) as caught:
            container.read(path)
        assert str(caught.value).encode().count(b"\n") == 0  # one line, and printable
    assert not temporaries(tmp_path)


@posix
def test_symlinks_stay(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "there").symlink_to(Path("real") / "m")
    (tmp_path / "link").symlink_to("there")
    for content in (b"one", b"two"):  # the first through a link to nothing yet
        disk.write_bytes(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "there").is_symlink()
        assert not (tmp_path / "real" / "m").is_symlink()
        assert (tmp_path / "real" / "m").read_bytes() == content
    small_file(tmp_path / "link")
    assert container.read(tmp_path / "link")[1]


@posix
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_mode_of_a_new_file_honours_the_umask(tmp_path, umask, mode):
    old = os.umask(umask)
    try:
        disk.write_bytes(tmp_path / "m", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == mode


@posix
def test_a_private_file_stays_private(tmp_path):
    old = os.umask(0)
    try:
        (tmp_path / "m").touch(0o600)
        disk.write_bytes(tmp_path / "m", b"new")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o600
    assert (tmp_path / "m").read_bytes() == b"new"
