"""How many pixels of decoded images may be in memory at once."""

from __future__ import annotations

import threading

_LOOK = 0.2  # seconds between two looks, so that a thread that waits can be ended


class PixelBudget:
    """Room for so many pixels at once, given to images in their order.

    An image whose turn it is and that finds no room is the next to get some: none behind it is let in before, or the
    images in memory could all be waiting for one that is not.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self._turn = 0
        self._changed = threading.Condition()

    def admits(self, turn: int, pixels: int) -> bool:
        """Room for image number `turn`, from 0, once those before it have passed; False when it has to wait."""
        with self._changed:
            while self._turn != turn:
                self._changed.wait(_LOOK)
            if self._used + pixels > self._most:
                return False
            self._pass(pixels)
            return True

    def wait_for(self, pixels: int) -> None:
        """Room for the image whose turn it is, as soon as others have given back theirs."""
        with self._changed:
            while self._used + pixels > self._most:
                self._changed.wait(_LOOK)
            self._pass(pixels)

    def give_back(self, pixels: int) -> None:
        with self._changed:
            self._used -= pixels
            self._changed.notify_all()

    def _pass(self, pixels: int) -> None:
        self._used += pixels
        self._turn += 1
        self._changed.notify_all()
