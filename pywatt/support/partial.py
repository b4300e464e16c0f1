"""Keep on an exception what was measured before it."""

from collections.abc import Callable


def keep_partial(error: BaseException, result: Callable[[], object]) -> None:
    """Set the result so far as `partial_profile` of the user's exception; nothing without one."""
    try:
        error.partial_profile = result()  # type: ignore[attr-defined]  # ours
    except Exception:
        return
