"""Whether images are still those that finished ones were made from."""

from __future__ import annotations

from ..file_state import States, is_same
from ..files import OutputFolder
from ..sources.source import Source
from .hidden import HIDDEN
from .journal import Journal

STATES = f"{HIDDEN}/states.json"


class Unchanged:
    """Compares images with the entries of a journal: by the state of their files, and where that differs by hash.

    States that were found by reading a file are remembered in `folder`, once `keep` is called.
    """

    def __init__(self, source: Source, folder: OutputFolder) -> None:
        self._source, self._folder = source, folder
        self._states = States(folder.read(STATES))

    def check(self, journal: Journal, path: str) -> bool:
        """Whether an image is the one that its entry in the journal was made for; OSError where it is not there."""
        entry, now = journal.entries[path], self._source.state(path)
        if is_same(entry.stat, now):
            return True
        if not is_same(self._states.of(path, entry.sha256) or (), now):
            if self._source.sha256(path) != entry.sha256:
                return False
            self._states.note(path, entry.sha256, now)
        journal.entries[path] = entry._replace(stat=now)
        return True

    def keep(self) -> None:
        """Remember what was read."""
        text = self._states.text()
        if text is not None:
            self._folder.write(STATES, text, durable=True)
