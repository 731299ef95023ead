"""YAML of datasets, checked before values are made of it: aliases, nesting and numbers can claim without limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samlabel.errors import FormatError, brief

from .files import parser_fault, read_text

DEEPEST = 32  # tables and lists in each other; data.yaml needs three
NODES = 500_000  # values, each counted as often as aliases repeat it; 60,000 classes with their numbers are 120,000
DIGITS = 400  # characters of a number; 1e308 written out has 309


def load_yaml(file: Path) -> Any:
    """The value in a YAML file; FormatError with its line when it is broken or unfolds beyond measure."""
    import yaml

    try:
        loader: Any = yaml.CSafeLoader
    except AttributeError:  # built without libyaml
        loader = yaml.SafeLoader
    text = read_text(file)
    try:
        _check_events(yaml, text, loader, file)
        reader = loader(text)
        try:
            node = reader.get_single_node()
            if node is None:
                return None
            _check_nodes(yaml, node, file)
            return reader.construct_document(node)
        finally:
            reader.dispose()
    except FormatError:
        raise
    except Exception as error:  # besides YAMLError, damaged dates and numbers raise whatever their parsers raise
        marked: Any = error if isinstance(error, yaml.MarkedYAMLError) else None
        mark, problem = (marked.problem_mark, marked.problem) if marked else (None, None)
        line = f":{mark.line + 1}" if mark else ""
        said = brief(ValueError(problem)) if problem else parser_fault(error)
        raise FormatError(f"{file}{line}: broken YAML: {said}") from error


def _check_events(yaml: Any, text: str, loader: Any, file: Path) -> None:
    """FormatError for what is nested too deep or has too many values, before anything is made of it."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=loader)):
        if number > NODES:
            raise FormatError(
                f"{file}: more than {NODES} values; expected the names of classes and the places of images"
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            line = event.start_mark.line + 1
            raise FormatError(
                f"{file}:{line}: nested too deep; expected at most {DEEPEST} lists and tables in each other"
            )


def _check_nodes(yaml: Any, root: Any, file: Path) -> None:
    """FormatError where aliases unfold to too many values or to themselves, or a number has too many digits."""
    counts: dict[int, int] = {}  # of finished nodes, with all that is in them
    begun: set[int] = set()
    todo = [root]
    while todo:
        node = todo[-1]
        if id(node) in counts:
            todo.pop()
            continue
        inner = _children(yaml, node, file)
        if id(node) not in begun:
            begun.add(id(node))
            todo += [child for child in inner if id(child) not in counts]
            if any(id(child) in begun and id(child) not in counts for child in inner):
                raise FormatError(f"{file}:{node.start_mark.line + 1}: an alias that holds itself")
            continue
        counts[id(node)] = 1 + sum(counts[id(child)] for child in inner)
        todo.pop()
        if counts[id(node)] > NODES:
            raise FormatError(f"{file}: its aliases unfold to more than {NODES} values; write out what is meant")


def _children(yaml: Any, node: Any, file: Path) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if len(node.value) > DIGITS and node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        line = node.start_mark.line + 1
        raise FormatError(f"{file}:{line}: a number of {len(node.value)} characters; expected at most {DIGITS}")
    return []
