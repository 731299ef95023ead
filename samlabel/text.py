"""Text of strangers (file names, class names, what an error quotes) that no terminal, CI log or page obeys."""

from __future__ import annotations

import json
import re
from typing import Any

# C0, DEL and C1; what turns the direction of text around or is not seen at all; line and paragraph separators; parts of
# characters that are none. The joiners U+200C and U+200D stay: Persian, Indic scripts and emoji are spelled with them.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
# GitHub obeys `::command::` at the start of a line, spaces before it included, and `##[command]` anywhere in it; Azure
# Pipelines and TeamCity obey `##vso[` and `##teamcity[`.
# https://docs.github.com/actions/reference/workflow-commands-for-github-actions
# https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands
_COMMAND_AT_START = re.compile(r"^(\s*):(?=:)")
_COMMAND_ANYWHERE = re.compile(r"#(?=#\w*\[)")


def printable(text: object) -> str:
    """`str(text)` on one line, every control, bidirectional and invisible character written as `\\n` or `\\u202e`.

    For pages and pictures; a line for a terminal or a log is made by `line`.
    """
    return _UNSEEN.sub(_escaped, str(text))


def line(text: object) -> str:
    """`text` as one line of output: `printable`, and nothing in it is a command to the CI system that reads the log."""
    return without_commands(_COMMAND_AT_START.sub(r"\1\\x3a", printable(text)))


def without_commands(text: str) -> str:
    """`text` without commands that CI systems obey wherever they stand in a line."""
    return _COMMAND_ANYWHERE.sub(r"\\x23", text)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """`value` as JSON that reads back as the same data, with nothing in it that a terminal or CI system obeys."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    # These stand inside strings only, as line feeds are the one character of ours that the pattern knows.
    text = "\n".join(_UNSEEN.sub(_escaped_in_json, part) for part in text.split("\n"))
    return _COMMAND_ANYWHERE.sub(r"\\u0023", text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if found[0] in "\t\n\r":
        return {"\t": "\\t", "\n": "\\n", "\r": "\\r"}[found[0]]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escaped_in_json(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]
