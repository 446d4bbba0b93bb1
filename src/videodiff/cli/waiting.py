"""How threads wait for each other: set before torch loads the OpenMP library, which reads it only once.

A thread that has done its part of an operation waits for the others. By default it spins: the core is kept for the
microseconds that are saved when the others are running. Beside other busy processes they are not: a core is burnt while
the thread that is waited for has none. Threads that sleep are woken later and leave the core to whoever has work.
docs/scaling.md tells what either costs.
"""

import os
import sys

# By these a user chooses: OpenMP's own, libgomp's (in torch's wheels for Linux), LLVM's and Intel's.
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def choose() -> None:
    """Let waiting threads sleep, in this process and those it starts; never over a choice of the user's.

    Nothing changes where torch is loaded already. Results do not depend on it: the number of threads stays as it is.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in CHOICES):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
