"""Changes of explorers that are linked: one at a time, and a follower after all of them.

A link between traits hands over one trait at a time. Half way through a jump the follower would fit
its old channel to the new layer, and the link would hand that channel back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

# One for all: two that are linked would each hold its own and wait for the other's, where a
# cell moves one of them and the page the other.
LOCK = threading.RLock()

# Who is telling others of changes at the moment: one explorer or none.
_leader: list[object] = []
_followers: list[tuple[object, Callable[[], object]]] = []


@contextmanager
def followers_wait(leader: object) -> Iterator[None]:
    """Let whoever is linked to `leader` wait until it has told of all that the body changes."""
    with LOCK:
        if _leader:
            yield
            return
        # Each follower catches up, also where another one fails.
        with ExitStack() as stack:
            _leader.append(leader)
            try:
                yield
            finally:
                _leader.clear()
                for _, catch_up in reversed(_followers):
                    stack.callback(catch_up)
                _followers.clear()


def follows(one: object) -> bool:
    """Tell whether another explorer is telling of changes, of which `one` may know only some."""
    return bool(_leader) and _leader[0] is not one


def waits(follower: object, catch_up: Callable[[], object]) -> bool:
    """Tell whether `follower` is to change nothing by itself yet; `catch_up` is called later."""
    if not follows(follower):
        return False
    _followers.append((follower, catch_up))
    return True


def is_behind(one: object) -> bool:
    """Tell whether `one` was told of changes that it does not show yet."""
    return any(follower is one for follower, _ in _followers)
