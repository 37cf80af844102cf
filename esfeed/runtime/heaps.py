"""How many heaps the C library keeps for the threads of this process."""

from __future__ import annotations

import ctypes
import os

MAX_HEAPS = 2
_OWN_WORD = "MALLOC_ARENA_MAX"
_ARENA_MAX = -8  # M_ARENA_MAX of <malloc.h>


def share_heaps() -> bool:
    """Makes the threads of this process share two heaps. Call it before the first thread starts.

    glibc gives each thread its own heap, up to eight for each core, and a heap keeps its largest size. So memory creeps
    towards the largest poll times the number of heaps. Threads gain nothing from separate heaps, because the
    interpreter runs one at a time. Returns whether the C library accepted it: others, such as musl, have no such heaps,
    and ``MALLOC_ARENA_MAX`` in the environment takes precedence.
    """
    if _OWN_WORD in os.environ:
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(_ARENA_MAX, MAX_HEAPS))
    except (OSError, AttributeError):
        return False
