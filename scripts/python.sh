#!/bin/sh
# Prints the path of a Python 3.11 or later that can create virtual environments, or says on stderr what is missing.
# PYTHON=/path/to/python selects one.

found=""
for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3 python3.14; do
    path=$(command -v "$candidate" 2>/dev/null) || continue
    version=$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    found="$found $path ($version)"
    "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || continue
    if "$path" -c 'import venv, ensurepip' 2>/dev/null; then
        echo "$path"
        exit 0
    fi
    found="$found without venv,"
done

{
    if [ -z "$found" ]; then
        echo "vidpipe needs Python 3.11 or later, and no python3 was found on PATH."
    else
        echo "vidpipe needs Python 3.11 or later with venv. Found:$found."
    fi
    echo "Install it, for example: apt-get install python3 python3-venv (Debian 12, Ubuntu 24.04 or later),"
    echo "dnf install python3.12, brew install python@3.13; or select one: make PYTHON=/path/to/python3.12 ..."
} >&2
exit 1
