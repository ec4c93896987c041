"""Threads that compute with one thread each."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch


@cache
def single_threads(num_threads: int) -> ThreadPoolExecutor:
    """Threads that compute with one thread each.

    Faster than sharing every convolution, and the same bits for any number of threads: how oneDNN splits a
    convolution's sums depends on how many threads share it.
    """
    everyone = threading.Barrier(num_threads)  # keeps the pool from giving two of these tasks to one thread

    def limit(_: int) -> None:
        torch.get_num_threads()  # a thread's first use of its count resets it: have that behind us
        torch.set_num_threads(1)
        everyone.wait()

    pool = ThreadPoolExecutor(num_threads, "backbone")
    list(pool.map(limit, range(num_threads)))
    # torch also takes a thread's count as the default of threads to come; put back what was there.
    torch.set_num_threads(num_threads)
    return pool
