"""What is found out about the files of a model without opening them as one."""

from __future__ import annotations

import enum

import msgspec

from headrace.models.formats import FORMATS


class Verdict(enum.StrEnum):
    """What opening a file would do."""

    #: Nothing that the file brings is run.
    SAFE = "safe"
    #: It is opened when the loader says so.
    WORD = "needs a word"
    #: It does, or can do, what no model has to do.
    DANGEROUS = "dangerous"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one file, or of one member of an archive.

    Attributes:
        path: Relative to the model's folder; members follow their archive: ``model.pth!archive/data.pkl``.
        format: Its format (`headrace.models.formats`); None for data that nothing runs, and for notes.
        reasons: What was seen, for people.
        imports: Full names that opening it would import; a part that only running it would tell is ``?``.
        types: Types that it asks for, which a loader has to trust by name.
        dangerous: Something in it does what no model has to do.
        never: No word from a loader opens it: it is damaged on purpose, or reaches out of the folder.
        tensors: It is a pickle that builds tensors and plain data alone.
    """

    path: str
    format: str | None = None
    reasons: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    dangerous: bool = False
    never: bool = False
    tensors: bool = False

    @property
    def verdict(self) -> Verdict:
        if self.dangerous or self.never:
            return Verdict.DANGEROUS
        if self.types or (self.format is not None and not FORMATS[self.format].safe):
            return Verdict.WORD
        return Verdict.SAFE
