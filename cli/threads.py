"""Settings of OpenMP on how threads wait, which torch and numba read when they load."""

import os

SETTINGS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
"""Waiting threads sleep, of GNU's runtime after some microseconds; by default they spin for milliseconds.

A thread that spins takes the core that the one it waits for needs, if other programs run. Seen on two busy cores, for
Fourier transforms of 512 x 512: with two threads 16 s by default, 1.6 s so, and 2.6 s with one thread.
"""

_OF_THE_USER = (*SETTINGS, "KMP_BLOCKTIME")


def sleep_while_waiting() -> None:
    """Let threads sleep while they wait, unless the environment says how they wait; to be called before torch loads."""
    if not any(name in os.environ for name in _OF_THE_USER):
        os.environ.update(SETTINGS)
