"""How many processors there are for this process: its affinity, and its control groups' quota.

Docker, Kubernetes and systemd limit a container's processor time by control groups (cgroups): in
each period a group may use so much time, of all processors together. The groups are folders of a
file system, one inside the other; the kernel says in ``/proc/self`` which is this process' own, and
where they are mounted.
"""

import math
import os
import re
from pathlib import Path, PurePosixPath


def available(root=Path("/")):
    """Return how many processors this process may use, at least 1.

    Parameters
    ----------
    root : Path
        Where the system's files are.
    """
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    return min(processors, cgroup_quota(root))


def cgroup_quota(root):
    """Return the processor time that control groups grant, in processors rounded up.

    It is the least of all groups that the process is in; infinity where none sets a limit. What
    cannot be read sets none.
    """
    return min((_quota(folder) for folder in _control_groups(root)), default=math.inf)


def _control_groups(root):
    """Yield the folders of the process' own groups for processor time, and of all around them."""
    own = {}  # by mounted file system: version 2, or the controller of version 1
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers or "cpu" in controllers.split(","):
            own["cgroup" if controllers else "cgroup2"] = PurePosixPath(path)
    for line in _text(root / "proc/self/mountinfo").splitlines():
        mount, _, system = line.partition(" - ")
        mount, kind, *options = mount.split(" "), *system.split(" ")
        if kind not in own or len(mount) < 5:
            continue
        if kind == "cgroup" and "cpu" not in options[-1].split(","):
            continue
        top, place = PurePosixPath(mount[3]), root / mount[4].lstrip("/")
        inside = own[kind].is_relative_to(top) and ".." not in own[kind].parts
        path = own[kind].relative_to(top) if inside else PurePosixPath()
        yield from (place / each for each in (path, *path.parents))


def _quota(folder):
    """Return a group's processors; infinity without a limit."""
    limit = _text(folder / "cpu.max") or (  # version 2, or 1
        _text(folder / "cpu.cfs_quota_us") + " " + _text(folder / "cpu.cfs_period_us"))
    numbers = re.fullmatch(r"\s*(\d{1,18})\s+(\d{1,18})\s*", limit, re.ASCII)
    quota, period = map(int, numbers.groups()) if numbers else (0, 0)
    return max(1, -(-quota // period)) if period else math.inf


def _text(path):
    """Return what is in a file; nothing if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):  # ValueError: a path with a NUL
        return ""
