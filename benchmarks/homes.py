"""Empty homes for benchmarks."""

from __future__ import annotations

import shutil
from pathlib import Path

from vidpipe.library import embedded
from vidpipe.settings import Settings, init_home, load


def empty_home(home: Path) -> Settings:
    """The default settings of a new home in the folder `home`. A home of an earlier run is stopped and deleted."""
    if home.exists():
        embedded.stop(Settings(home=home))
        shutil.rmtree(home)
    init_home(home)
    return load(home, {}).settings
