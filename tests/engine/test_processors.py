"""How many processors a process may use, by files as Linux has them in several containers."""

import math
import os
import sys

import pytest

from crnn.engine import processors

pytestmark = pytest.mark.no_backend

V1 = "31 23 0:28 {top} {place} rw,relatime shared:9 - cgroup cgroup rw,{controllers}\n"
V2 = "35 24 0:30 {top} {place} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
OTHERS = (
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n"
    "23 22 0:21 / /proc rw,nosuid - proc proc rw\n"
    "36 22 0:33 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
)


@pytest.fixture
def system(tmp_path):
    """A function that writes the files of a system, by name, and returns where they are."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path

    return write


def version_2(path="/", top="/", place="/sys/fs/cgroup", **limits):
    """The files of control groups of version 2; limits by folder, "_" for "/"."""
    files = {"proc/self/cgroup": f"0::{path}\n",
             "proc/self/mountinfo": OTHERS + V2.format(top=top, place=place)}
    folder = place.lstrip("/")
    return files | {f"{folder}/{name.replace('_', '/')}/cpu.max": text
                    for name, text in limits.items()}


def version_1(quota, period, path="/", top="/", inside="", controllers="cpu,cpuacct"):
    """The files of control groups of version 1, and the empty version 2 of hybrid systems."""
    place = f"/sys/fs/cgroup/{controllers}"
    folder = f"{place.lstrip('/')}/{inside}"
    return {
        "proc/self/cgroup": f"12:cpuset:/other\n4:{controllers}:{path}\n1:name=systemd:/\n0::/\n",
        "proc/self/mountinfo": OTHERS + V1.format(top=top, place=place, controllers=controllers)
        + V2.format(top="/", place="/sys/fs/cgroup/unified"),
        f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period,
    }


@pytest.mark.parametrize(("files", "quota"), [
    (version_2(_="150000 100000\n"), 2),  # in a container, which sees its own group as "/"
    (version_2(_="200000 100000\n"), 2),
    (version_2(_="200001 100000\n"), 3),
    (version_2(_="10000 100000\n"), 1),
    (version_2(_="50000 25000\n"), 2),  # kubelet's option cpuCFSQuotaPeriod
    (version_2(_="max 100000\n"), math.inf),
    (version_2("/a/b", a_b="300000 100000\n"), 3),
    (version_2("/a/b", a_b="max 100000\n", a="300000 100000\n", _="max 100000\n"), 3),
    (version_2("/a/b", a_b="800000 100000\n", a="300000 100000\n"), 3),
    (version_2("/a/b", a_b="300000 100000\n", a="800000 100000\n"), 3),
    (version_2("/a/b", a_c="100000 100000\n", b="100000 100000\n"), math.inf),  # of others
    (version_2("/pod/me", "/pod/me", _="300000 100000\n"), 3),  # what is mounted is its own group
    (version_2("/pod/me/part", "/pod/me", part="300000 100000\n"), 3),
    (version_2("/../..", _="300000 100000\n"), 3),  # a group outside of its namespace
    (version_2("/pod/me", "/pod/other", _="300000 100000\n"), 3),
    (version_2(place="/run/groups", _="300000 100000\n"), 3),
    (version_1("250000\n", "100000\n"), 3),
    (version_1("-1\n", "100000\n"), math.inf),
    (version_1("250000\n", "100000\n", controllers="cpu"), 3),
    (version_1("250000\n", "100000\n", "/docker/me", "/docker/me"), 3),
    (version_1("250000\n", "100000\n", "/user/me", inside="user/me"), 3),
    (version_1("250000\n", "100000\n", "/user/me", inside="user"), 3),
    (version_1("250000\n", "100000\n", "/user/me", inside="another"), math.inf),
])
def test_the_quota_is_that_of_the_groups_the_process_is_in(system, files, quota):
    assert processors.cgroup_quota(system(files)) == quota


@pytest.mark.parametrize("limit", [
    "", "\n", "max", "150000", "150000 0\n", "x y\n", "-5 100000\n", "1.5 1.0\n", "1 2 3\n",
    "9" * 5000 + " 1\n", b"\xff\xfe 1\n", "\u0663 \u0661\n",
])
def test_an_odd_limit_is_none(system, limit):
    assert processors.cgroup_quota(system(version_2(_=limit))) == math.inf


@pytest.mark.parametrize(("name", "text"), [
    ("proc/self/cgroup", ""), ("proc/self/cgroup", "nonsense\n\n0\n0:\n:::\n"),
    ("proc/self/cgroup", b"0::/\xff\xfe\n\0\n"), ("proc/self/mountinfo", "nonsense\n - \n\n"),
    ("proc/self/mountinfo", "1 2 3 - cgroup2 x\n"), ("proc/self/mountinfo", " - cgroup2\n"),
    ("proc/self/mountinfo", "1 2 0:3 / \0 rw - cgroup2 c rw\n"),
])
def test_odd_files_set_no_limit(system, name, text):
    assert processors.cgroup_quota(system(version_2() | {name: text})) == math.inf


def test_without_files_there_is_no_limit(tmp_path):
    assert processors.cgroup_quota(tmp_path) == math.inf
    (tmp_path / "proc").write_text("no folder")
    assert processors.cgroup_quota(tmp_path) == math.inf


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="affinity is of Linux")
@pytest.mark.parametrize(("affinity", "limit", "wanted"), [
    (range(8), "150000 100000", 2), (range(2), "400000 100000", 2), (range(3), "max 100000", 3),
    (range(1), "1000 100000", 1),
])
def test_the_smaller_of_affinity_and_quota_counts(system, monkeypatch, affinity, limit, wanted):
    monkeypatch.setattr(os, "sched_getaffinity", lambda who: set(affinity))
    assert processors.available(system(version_2(_=limit))) == wanted


def test_without_affinity_the_machine_counts(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for count, wanted in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert processors.available(tmp_path) == wanted


def test_this_machine():
    assert 1 <= processors.available() <= (os.cpu_count() or sys.maxsize)
