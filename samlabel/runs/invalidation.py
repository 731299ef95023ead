"""What another setting touches: which finished images hold as they are, which are chosen anew, which are redone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..files import OutputFolder
from ..options import RunSpec
from ..pipeline.select import why_dropped
from ..types import ImageRecord
from .journal import HUMAN, record_from_json, rewrite
from .settings import names_of

WITHOUT_EFFECT = ("images",)  # where the pictures lie; what they hold is compared by hash


def settings_hash(settings: Any) -> str:
    """A short name for settings: equal ones have equal names."""
    import hashlib

    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of the settings that differ, sorted, `detector.conf` for a nested one."""
    old, new = dict(_flat(before)), dict(_flat(now))
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def describe_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """`detector.conf was 0.25, is 0.4`, for every setting that differs."""
    old, new = dict(_flat(before)), dict(_flat(now))

    def text(value: Any) -> str:
        return "the default" if value is None else str(value)

    return ", ".join(f"{name} was {text(old.get(name))}, is {text(new.get(name))}" for name in differences(before, now))


def carry_over(
    journal: Path,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    spec: RunSpec,
    *,
    below: OutputFolder | None = None,
) -> None:
    """Make of the journal of settings `before` one of settings `now`, those of `spec`, without what has to be redone.

    Options that touch the selection, thresholds of masks, touch an image only where they drop one of its objects, or
    dropped a candidate that the journal no longer has; a new threshold is applied to the former, the latter are redone.
    Any other difference touches every image. `below` as for `Journal`. Atomic; a journal that was carried over already
    stays as it is.
    """
    old, new = settings_hash(before), settings_hash(now)
    changed = [name for name in differences(before, now) if name not in WITHOUT_EFFECT]
    possible = names_of(type(spec), "selection").issuperset(changed)

    def choose(head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], ImageRecord | None] | None:
        if head["settings"] in (new, HUMAN):
            return head, None
        if head["settings"] != old or not possible:
            return None
        head = {**head, "settings": new}
        if not changed:
            return head, None
        if set(head["dropped"]) - {"bad_box", "empty_mask"}:  # dropped by a threshold: the mask is gone
            return None
        record = record_from_json(json.loads(body))
        reasons = [why_dropped(one, spec.thresholds) for one in record.annotations]
        if not any(reasons):
            return head, None
        kept = tuple(one for one, why in zip(record.annotations, reasons, strict=True) if why is None)
        dropped = dict(head["dropped"])
        for why in reasons:
            if why is not None:
                dropped[why] = dropped.get(why, 0) + 1
        return {**head, "dropped": dict(sorted(dropped.items()))}, replace(record, annotations=kept)

    rewrite(journal, choose, below=below)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
