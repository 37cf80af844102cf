"""How many heaps the threads of a process come to have."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

_HEAPS = """
import ctypes, os, sys, tempfile, threading

shared = {shared}
if shared:
    from esfeed.runtime.heaps import share_heaps
    assert share_heaps()
# All at once, each with something large enough that the C library has to provide it.
there, enough = threading.Barrier(9), threading.Event()
def work():
    mine = [bytes(2000) for _ in range(100)]
    there.wait()
    enough.wait()
    del mine
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
there.wait()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
with tempfile.NamedTemporaryFile("rb") as file:
    out = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
    libc.malloc_info(0, out)
    libc.fclose(out)
    print(file.read().count(b"<heap "))
enough.set()
"""


def heaps(shared: bool) -> int:
    """The number in a new process with eight threads that all hold memory."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", _HEAPS.format(shared=shared)], capture_output=True, text=True, check=True, env=env
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such heaps")
def test_threads_share_heaps() -> None:
    """However many threads there are: each heap keeps what it took at its largest."""
    assert heaps(shared=False) > 2
    assert heaps(shared=True) <= 2
