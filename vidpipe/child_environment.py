"""What programs of others (ffmpeg, ffprobe, mongod) see of the environment: nothing that could hold a secret."""

from __future__ import annotations

import os
import re

_KEPT = re.compile(
    # where programs and libraries are, how texts and times are written, where temporary files and caches go
    r"PATH|LD_LIBRARY_PATH|LD_PRELOAD|DYLD_\w+|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP|HOME|XDG_(CACHE_HOME|RUNTIME_DIR)"
    # memory and threads
    r"|GLIBC_TUNABLES|MALLOC_\w+|OMP_NUM_THREADS"
    # graphics hardware and its drivers
    r"|(CUDA|NVIDIA|LIBVA|VDPAU|HIP|ROCR|ONEVPL|OCL|OPENCL|MESA|VK|DRI|GPU)_\w+"
)
_SECRET = re.compile("KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|SESSION")


def child_environment() -> dict[str, str]:
    """The part of the environment that such a program needs."""
    return {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name) and not _SECRET.search(name)}
