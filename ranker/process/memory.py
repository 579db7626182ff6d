"""Memory settings of the process: garbage that is seldom looked for, and freed pages that are kept.

Owns settings of the interpreter and the C library; knows nothing of what is in the memory.
"""

from __future__ import annotations

import ctypes
import gc

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""As in glibc's malloc.h (https://man7.org/linux/man-pages/man3/mallopt.3.html)."""
LARGE_BYTES = 64 << 20
"""Bytes of an array above which its memory comes from the kernel and goes back to it; that of all others stays. A
matrix of 2,048 x 4,096 features is half of it."""
YOUNG_OBJECTS = 5000
"""Objects more than at the last collection that make the next one due: some 100 requests, and a pause of some 5 ms."""


def freeze() -> None:
    """Move all objects that exist out of the collector's sight: a full collection under load takes some 80 ms.

    And have it look less often than after 700 objects, its default: answered requests leave nothing to collect, and
    with hundreds in flight it goes through the ids of them all again and again, for up to 10 and 25 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, up to twice `LARGE_BYTES`; where it is not glibc, do nothing.

    By default glibc gets arrays of some 100 kB and more from the kernel and gives them back, page by page, and joining
    the rows of sixteen requests then takes ten times as long as writing them.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, 2 * LARGE_BYTES)


def give_back_freed_memory() -> None:
    """Have the C library give back what is free, once; takes some 10 ms for 150 MB, and does nothing without glibc."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
