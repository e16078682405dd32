"""Setting of the C library's treatment of freed memory, for speed alone."""

import functools

import torch

LARGEST_KEPT_BLOCK = 2**25 - 2**16
"""Bytes: just below the 32 MiB that glibc calls ``DEFAULT_MMAP_THRESHOLD_MAX``, with room for its header."""


@functools.cache
def keep_freed_memory() -> None:
    """Have the C library keep what is freed for the next allocation, once for the process.

    glibc gives freed memory beyond a threshold back to the system, and whether a loop crosses it at every step is a
    matter of luck: thousands of page faults then make the gradient of a blur take 30 to 60 ms in place of 8. Freeing
    one large block, which is never touched, raises the threshold to twice its size. Elsewhere it does nothing.
    """
    torch.empty(LARGEST_KEPT_BLOCK, dtype=torch.uint8)
