"""Error messages under the controls: one sentence, with details for unexpected errors."""

from __future__ import annotations

import html
import sys
import traceback
from dataclasses import dataclass
from itertools import takewhile
from typing import Self

from traitlets import TraitError

from vgg_widget.weights import WeightsError

# Types raised on purpose, with a message that is complete by itself.
_DELIBERATE_ERRORS = (OSError, TraitError, ValueError, WeightsError)
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """An error as shown: a sentence, and a traceback if the sentence is not enough."""

    sentence: str
    details: str = ""

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Return the error's own sentence if it was written for users, else one with details."""
        if str(error) and _is_deliberate(error):
            return cls(str(error))
        notes = getattr(error, "__notes__", ())
        words = [f"{type(error).__name__}: {error}".rstrip(": "), *notes]
        what = "; ".join(_first_line(some).rstrip(".") for some in words)
        return cls(
            f"An unexpected error ({what}): continue with something else; the details show where "
            "it occurred.",
            "".join(traceback.format_exception(error)),
        )

    def as_html(self) -> str:
        """Return the sentence, with the details folded below; both are escaped."""
        sentence = html.escape(self.sentence)
        if not self.details:
            return sentence
        # The browser's own element: the keyboard opens it, and scrolls what has the focus.
        return (
            f'{sentence}<details class="vgg-details"><summary>details</summary>'
            f'<pre tabindex="0" aria-label="details">{html.escape(self.details)}</pre></details>'
        )


def _is_deliberate(error: Exception) -> bool:
    """Return whether the error was raised by this package, not by a user's code it called."""
    if not isinstance(error, _DELIBERATE_ERRORS):
        return False
    frames = traceback.walk_tb(error.__traceback__)
    packages = [str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame, _ in frames]
    outside = takewhile(lambda package: package != "vgg_widget", reversed(packages))
    # Messages from traitlets are sentences, and those for unreadable files come from the system.
    known = {"traitlets", *(sys.stdlib_module_names if isinstance(error, OSError) else ())}
    return known.issuperset(outside)


def _first_line(words: str) -> str:
    line = words.strip().partition("\n")[0]
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} …"
