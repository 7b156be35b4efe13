"""Waiting without sleep, and without the interpreter lock."""

from __future__ import annotations

import numpy as np

from .compilation import kernel


@kernel
def wait_awake(awaited: np.ndarray, number: int, told: np.ndarray, most_turns: int) -> bool:
    """Look at a count that another thread raises until it has reached a number.

    What else the other thread wrote is there for who takes the interpreter lock after this, as Python code does.

    Args:
        awaited: int64 [1 or more], the count first.
        number: that is waited for.
        told: int64 [1 or more]; the first number becomes more than 0 and tells others that this thread waits. It is
            written in every turn so that the compiler has `awaited` read in every turn.
        most_turns: looks, of about half a nanosecond each, after which to give up.

    Returns:
        Whether the number was reached.
    """
    for turn in range(most_turns):
        told[0] = turn + 1
        if awaited[0] >= number:
            return True
    return False
