"""The environment of external programs (ffmpeg, ffprobe, mongod), without variables that may hold secrets."""

from __future__ import annotations

import os
import re

_KEPT = re.compile(
    # paths of programs and libraries, locale, temporary files and caches
    r"PATH|LD_LIBRARY_PATH|LD_PRELOAD|DYLD_\w+|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP|HOME|XDG_(CACHE_HOME|RUNTIME_DIR)"
    # memory and threads
    r"|GLIBC_TUNABLES|MALLOC_\w+|OMP_NUM_THREADS"
    # graphics hardware and its drivers
    r"|(CUDA|NVIDIA|LIBVA|VDPAU|HIP|ROCR|ONEVPL|OCL|OPENCL|MESA|VK|DRI|GPU)_\w+"
)
_SECRET = re.compile("KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|SESSION")


def child_environment() -> dict[str, str]:
    """The variables of this process that an external program may need, secrets excluded."""
    return {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name) and not _SECRET.search(name)}
