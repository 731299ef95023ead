"""Every error that samlabel raises on purpose; the command line prints each as one line.

The exit code that ends the process travels with the class: 1 failure, 2 usage, 4 refused.
"""

from __future__ import annotations

from difflib import get_close_matches


class SamlabelError(Exception):
    """A message of one line: what, where, what was wanted, what to do next."""

    exit_code = 1


class UsageError(SamlabelError):
    """An option or argument that cannot be meant: unknown name, impossible value, missing folder."""

    exit_code = 2


class UnknownName(UsageError):
    """A detector, segmenter, format, variant or class that nothing here is called."""

    def __init__(self, kind: str, name: str, known: list[str], hint: str = "") -> None:
        if not hint:
            close = get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else ""
        listing = ", ".join(known) if known else "none"
        super().__init__(f"unknown {kind} {name!r}; known: {listing}" + (f". {hint}" if hint else ""))


class TooManyFailures(SamlabelError):
    """More images failed than the run was allowed to lose; what was finished is kept."""


class OutputExists(UsageError):
    """The output already holds labels that this run would overwrite."""


class Conflicted(OutputExists):
    """What people made contradicts itself or the pictures, and only they can say what holds."""

    exit_code = 4


class ImageError(SamlabelError):
    """One image that cannot be read; the run goes on without it."""


class ImageChanged(ImageError):
    """An image that is no longer the one that its labels were made for; the run goes on without it."""

    def __init__(self, path: str, what: str = "the file changed since it was labeled") -> None:
        self.path, self.what = path, f"{what}; run the same command again"
        super().__init__(f"{path}: {self.what}")


class FormatError(SamlabelError):
    """A label file that breaks a rule of its format: file, line or id, and the rule."""

    code: str | None = None  # the one of `converters.SKIPPED` that a lenient reader counts it under, where it is known


class LeadsOutside(SamlabelError):
    """A file of a dataset, or a folder that it names, that lies elsewhere; refused because nobody allowed it."""

    exit_code = 4

    def __init__(self, what: str, target: str, home: str) -> None:
        dataset = f"the dataset in {home}" if home else "the dataset"
        super().__init__(
            f"{what}: leads to {target}, outside {dataset}; allow it with --follow-links, or name the folder of the "
            f"images with --image-root"
        )


class LossyConversion(SamlabelError):
    """A conversion that would lose something, refused because nobody allowed it."""

    exit_code = 4


class WeightsError(SamlabelError):
    """A checkpoint that is missing, damaged, of another kind, or not safe to open."""


class UntrustedWeights(WeightsError):
    """A file that can run code when it is opened, and nobody said that it may."""

    exit_code = 4


class PlantedLibrary(SamlabelError):
    """The current folder holds shared libraries that importing torch could load."""

    exit_code = 4


class MissingDependency(SamlabelError):
    """An optional package that the chosen part needs, and the command that installs it."""
