"""What `interval_decoder` and `interval_worker` agree on; the former does not load PyAV."""

import struct

#: Time in microseconds (or number of frames) and number of bytes that follow.
FRAME = struct.Struct("<qI")
#: Stands in the filters for the color matrix of the frames.
COLOR_MATRIX = "COLOR_MATRIX"
