"""ffmpeg and OpenCV: files in, typed facts out."""

import os

#: Read by OpenCV when it is imported; otherwise it writes messages about damaged pictures to the terminal.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
