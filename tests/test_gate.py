"""What the settings of pytest in pyproject.toml promise."""

from __future__ import annotations

import warnings

import pytest


def warn_from(module: str) -> None:
    """Issues a warning as a line of `module` would."""
    warnings.warn_explicit("a sign of a fault", UserWarning, f"{module}.py", 1, module=module)


@pytest.mark.parametrize("module", ["sam", "sam.modeling.layers", "samlabel.cli.annotate", "converters.coco"])
def test_a_warning_about_a_line_of_ours_is_an_error(module: str) -> None:
    with pytest.raises(UserWarning, match="a sign of a fault"):
        warn_from(module)


@pytest.mark.parametrize("module", ["sampling", "torch.nn", "other.samlabel"])
def test_a_warning_about_a_line_of_others_is_no_error(module: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", append=True)  # below all settings: it only keeps the report of pytest short
        warn_from(module)
