"""What is shown of an error: one sentence, and the details where nobody expected it."""

from __future__ import annotations

import html
import sys
import traceback
from dataclasses import dataclass
from itertools import takewhile
from typing import Self

from traitlets import TraitError

from vgg_widget.weights import WeightsError

# What is raised on purpose, with a sentence that says all that there is to say.
_SENTENCES = (OSError, TraitError, ValueError, WeightsError)
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """What is said of an error: a sentence, and a traceback where the sentence does not say all."""

    sentence: str
    details: str = ""

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Return the error's own sentence if it was raised to be read, else one with details."""
        if str(error) and _on_purpose(error):
            return cls(str(error))
        notes = getattr(error, "__notes__", ())
        words = [f"{type(error).__name__}: {error}".rstrip(": "), *notes]
        what = "; ".join(_first_line(some).rstrip(".") for some in words)
        return cls(
            f"An unexpected error ({what}): go on with something else; the details say where it "
            "arose.",
            "".join(traceback.format_exception(error)),
        )

    def as_html(self) -> str:
        """Return the sentence, and under it the details, folded; neither is ever markup."""
        sentence = html.escape(self.sentence)
        if not self.details:
            return sentence
        # The fold is the browser's own, which a keyboard opens; so is the scrolling of what has
        # the focus.
        return (
            f'{sentence}<details class="vgg-details"><summary>details</summary>'
            f'<pre tabindex="0" aria-label="details">{html.escape(self.details)}</pre></details>'
        )


def _on_purpose(error: Exception) -> bool:
    """Tell whether the error was raised here, and not by somebody's code that was called."""
    if not isinstance(error, _SENTENCES):
        return False
    frames = traceback.walk_tb(error.__traceback__)
    rooms = [str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame, _ in frames]
    beyond = takewhile(lambda room: room != "vgg_widget", reversed(rooms))
    # traitlets speaks in sentences, and a file that cannot be opened is told of by the system.
    known = {"traitlets", *(sys.stdlib_module_names if isinstance(error, OSError) else ())}
    return known.issuperset(beyond)


def _first_line(words: str) -> str:
    line = words.strip().partition("\n")[0]
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} …"
