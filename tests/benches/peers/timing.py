"""What the peers of a million small items share: how their rate is taken."""

import time


def timed(make, count):
    """Items per second of a call that gives the sum of `count` ones."""
    begun = time.monotonic()
    total = make()
    took = time.monotonic() - begun
    assert total == count, (total, count)
    return count / took
