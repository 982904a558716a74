"""How a program's CPU threads are counted and wait. A library leaves both to its caller; our command line asks here.

Two things slow torch down many times, and both are decided before it is imported:

    threads that wait by spinning   they take the processor from those that work when it is shared. Twelve views to a
                                    GLB on two busy cores: 15 to 60 s spinning, 5 to 7 s sleeping. Where nothing else
                                    runs, sleeping costs 5 microseconds an operation
    more threads than cores         in a container, torch counts the machine's cores and not the container's share
"""

import os
import sys
from collections.abc import MutableMapping
from math import ceil
from pathlib import Path

CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # "QUOTA PERIOD" in microseconds, or "max PERIOD"


def share_processor(environment: MutableMapping[str, str] | None = None) -> None:
    """Sets OMP_WAIT_POLICY, and OMP_NUM_THREADS where a container's share is smaller; what is already set stays.

    Call it before torch is first imported: afterwards it changes nothing.
    """
    environment = os.environ if environment is None else environment
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    share = container_cores()
    if share is not None and share < (os.cpu_count() or 1):
        environment.setdefault("OMP_NUM_THREADS", str(share))


def container_cores(limit: Path = CGROUP_LIMIT) -> int | None:
    """The cores that this container may use, rounded up; None where there is no limit or no container."""
    if sys.platform != "linux" or not limit.is_file():
        return None
    quota, _, period = limit.read_text(encoding="ascii").partition(" ")
    return None if quota == "max" else max(ceil(int(quota) / int(period)), 1)
