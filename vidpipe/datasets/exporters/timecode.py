"""Frame rates and timecodes of editors (SMPTE ST 12-1)."""

#: The rates that timecode and editors know.
_RATES = (24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60000 / 1001, 60.0)
_DROPPED = {30000 / 1001: 2, 60000 / 1001: 4}
#: Measured rates are rounded to three digits.
_ROUNDING = 0.0006
#: Of a video whose rate is unknown.
_USUAL = 25.0


def exact_rate(rate: float | None) -> float:
    """Return a measured frame rate exactly: 29.97 is 30000/1001."""
    return next((one for one in _RATES if rate and abs(one - rate) < _ROUNDING), rate or _USUAL)


def timecode_rate(rate: float | None) -> float:
    """Return the rate to count a video's timecode at: its own, else a multiple, else the next higher, else 60."""
    exact = exact_rate(rate)
    higher = [one for one in _RATES if one >= exact]
    return next((one for one in higher if abs(one / exact - round(one / exact)) < 1e-4), (*higher, 60.0)[0])


def is_drop_frame(rate: float) -> bool:
    """Return whether timecode at this rate skips numbers, so that it keeps the time of the clock."""
    return rate in _DROPPED


def timecode(time_s: float, rate: float) -> str:
    """Return a time as 01:02:03:04, or 01:02:03;04 with drop frames; hours count on after 23."""
    base, dropped, frame = round(rate), _DROPPED.get(rate, 0), round(time_s * rate)
    if dropped:  # each minute skips the first numbers, but each tenth minute
        tens, rest = divmod(frame, base * 600 - 9 * dropped)
        frame += 9 * dropped * tens + dropped * max(0, (rest - dropped) // (base * 60 - dropped))
    seconds, frames = divmod(frame, base)
    minutes, separator = seconds // 60, ";" if dropped else ":"
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds % 60:02d}{separator}{frames:02d}"
