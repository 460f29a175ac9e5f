"""The memory that a fit may take, and the memory that it takes at least."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from training.options import Options

CGROUPS: Final = Path("/sys/fs/cgroup")
#: The files with the limit of a control group, of version 2 and 1. See https://docs.kernel.org/admin-guide/cgroup-v2.html.
LIMITS: Final = ("memory.max", "memory/memory.limit_in_bytes")
#: Bytes of a weight in a fit: its value, its gradient and the two moments of Adam, as float32.
BYTES_OF_WEIGHT: Final = 16


def memory_limit(cgroups: Path = CGROUPS) -> int:
    """Return the bytes of memory that the process may take: those of the machine, or of its control group if less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in LIMITS:
        with suppress(OSError):
            limit = (cgroups / name).read_text().strip()
            limits += [int(limit)] if limit.isdecimal() else []
    return min(limits)


def fewest_bytes(options: Options) -> int:
    """Return the bytes that the weights of a fit take at least.

    A GRU has 3 units² weights from its states to its gates; an LSTM and the convolutions of inception have more.
    """
    return 0 if options.architecture == "minirocket" else BYTES_OF_WEIGHT * 3 * options.units**2
