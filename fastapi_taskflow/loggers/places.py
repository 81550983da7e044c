"""Where in the code a line was logged: found once for each place, and known from then on."""

from __future__ import annotations

import os
import sys
from types import CodeType

MAX_KNOWN = 1000
"""Of how many places it is remembered: code that is made at run time has new ones each time."""

Place = tuple[str, int, str, str, str]
"""The path, the line, the function, and the names of file and module, as a record has them.

No named tuple: the interpreter takes apart a plain one in a fraction of the time.
"""

_known: dict[tuple[int, int], tuple[CodeType, Place]] = {}


def place_at(path: str, lineno: int, function: str) -> Place:
    """The place in a function, on a line of a file."""
    filename = os.path.basename(path)
    return path, lineno, function, filename, os.path.splitext(filename)[0]


NOWHERE = place_at("(unknown file)", 0, "(unknown function)")


def calling_place(depth: int) -> Place:
    """The place of a function that is running, further out.

    The interpreter counts through the lines of a function to find the one it is at: in a long one
    that takes longer than all else that is done for a log line.

    Args:
        depth: How many calls lie between it and this function: 1 is the place of the function
            that calls this, 2 that of its caller.
    """
    try:
        frame = sys._getframe(depth)  # documented
    except ValueError:  # C calls, as at exit
        return NOWHERE
    code = frame.f_code
    spot = id(code), frame.f_lasti
    known = _known.get(spot)
    if known is not None and known[0] is code:  # while it is kept, no other has its id
        return known[1]
    if len(_known) >= MAX_KNOWN:
        _known.clear()
    place = place_at(code.co_filename, frame.f_lineno, code.co_name)
    _known[spot] = code, place
    return place
