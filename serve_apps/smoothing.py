"""What a replica does to its own process so that requests seldom wait for other work."""

import gc

YOUNG = 20_000
"""Objects made between two looks of the garbage collector; 700 unless set."""


def smooth() -> None:
    """Let the garbage collector pass over what is there to stay, and come less often.

    Called once everything is imported and made: a look at all of that takes a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
