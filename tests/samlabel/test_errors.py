"""The words of messages: what the system refused, what a value began with, what a library said."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from samlabel.errors import FormatError, about, brief, naming, reason, shown


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "permission denied; check who may read and write it"),
        (errno.EROFS, "read-only"),
        (errno.ENOENT, "no such file or folder"),
        (errno.ENOTDIR, os.strerror(errno.ENOTDIR).lower()),
    ],
    ids=errno.errorcode.get,
)
def test_what_the_system_refuses_is_said_in_our_words(number: int, words: str) -> None:
    assert words in reason(OSError(number, os.strerror(number), "a.json"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG], ids=errno.errorcode.get)
def test_a_full_disk_is_named_by_its_folder_with_the_bytes_that_are_free(number: int, tmp_path: Path) -> None:
    found = []
    for inside in (tmp_path / "labels.json", tmp_path / "new" / "deep" / "labels.json"):
        with pytest.raises(OSError) as caught, naming(inside):
            raise OSError(number, os.strerror(number))
        found.append(reason(caught.value))
    for words in found:
        assert f" in {tmp_path} (" in words and " bytes free); free some, or choose another place" in words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("short", "'short'"),
        ("x" * 10**7, f"{'x' * 60!r}..."),
        (10**5000, "a whole number of 16610 bits"),
        ([1, [2, {"a": None}]], "[1, [2, {'a': None}]]"),
        (list(range(10**6)), "..."),
        ({"a": "b" * 10**6}, "..."),
    ],
    ids=["text", "long text", "digits", "nested", "long list", "long value"],
)
def test_a_value_is_shown_by_its_beginning(value: Any, text: str) -> None:
    assert text in shown(value) and len(shown(value)) < 400


def test_a_value_that_holds_itself_a_thousand_million_times_is_shown_at_once() -> None:
    value: list[Any] = ["lol"] * 9
    for _ in range(9):
        value = [value] * 9
    assert shown(value).startswith("[[[") and len(shown(value)) < 2000


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "more memory is needed than there is"),
        (RecursionError("deep"), "nested too deep"),
        (OverflowError("int too large"), "cannot be worked with: int too large"),
        (ValueError("two\nlines"), "two lines"),
        (FileNotFoundError(errno.ENOENT, "No such file", "b.png"), "b.png: no such file"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_library_raises_over_a_file_is_one_line_about_it(error: Exception, words: str) -> None:
    with pytest.raises(FormatError, match=words) as caught, about("a.json"):
        raise error
    assert "\n" not in str(caught.value)


def test_a_mistake_of_ours_stays_what_it_is() -> None:
    with pytest.raises(KeyError), about("a.json"):
        raise KeyError("no such key of ours")


def test_a_message_of_another_library_is_cut_and_on_one_line() -> None:
    assert brief(ValueError("a\n b " * 10**6)) == ("a b " * 50)[:200]
    assert brief(ValueError()) == "ValueError"
