"""Open files: the soft limit, which is 1,024 by default, raised as far as the hard one allows.

The soft limit is for programs that use `select`, which counts no further; neither asyncio nor Redis' client does.
"""

from __future__ import annotations

import resource


def raise_limit(wanted: int | None = None) -> int:
    """Have this process, and those it starts, open so many files, or as many as they may; return how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or (wanted is not None and soft >= wanted):
        return soft if soft != unlimited else 1 << 30
    allowed = min((limit for limit in (wanted, None if hard == unlimited else hard) if limit is not None), default=soft)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
