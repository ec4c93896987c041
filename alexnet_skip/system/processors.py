"""How many processors a process may use. Imports nothing, so that worker processes start quickly."""

import os


def available_cpus() -> int:
    """Processors that this process may use, divided among the processes of a launch on this machine."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cpus // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
