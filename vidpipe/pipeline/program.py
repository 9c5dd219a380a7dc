"""Dagster's programs, started sooner: `python -m vidpipe.pipeline.program dagster api …`, as `python -m dagster api …`.

What they import makes half a million objects that all stay. To look through them for garbage again and again takes a
fifth of the processor time of a start (2.3 s of it without, 1.9 s with this, for the process of a run).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys

#: program -> the module whose `main` it is
_MAINS = {
    "dagster": "dagster._cli",
    "dagster_webserver": "vidpipe.pipeline.pages.dagster_page",  # behind the guard
    "vidpipe.services.daemon": "vidpipe.services.daemon",
}
#: What `vidpipe.pipeline.definitions` needs, but for the settings: the code server and runs load it.
_OF_DEFINITIONS = ("vidpipe.pipeline.build", "vidpipe.stages.registry")


def main() -> None:
    name = sys.argv.pop(1)
    gc.disable()
    program = importlib.import_module(_MAINS[name])
    if name == "dagster":
        with contextlib.suppress(ImportError):  # Dagster says so where it loads the definitions
            for module in _OF_DEFINITIONS:
                importlib.import_module(module)
    gc.freeze()
    gc.enable()
    try:
        program.main()
    finally:
        if "torch" not in sys.modules:  # whose bindings would report all that is not collected as leaked
            gc.freeze()  # the process ends: nothing is left to be looked for


if __name__ == "__main__":
    main()
