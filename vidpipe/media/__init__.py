"""ffmpeg and OpenCV: files in, typed facts out."""

import os

#: OpenCV reads it when it is first imported, and would write of damaged pictures to the terminal.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
