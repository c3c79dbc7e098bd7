"""The same work for every channel, a core each."""

from __future__ import annotations

import pytest

from napari_ossnet.engine.errors import InputError
from napari_ossnet.engine.scans.channels import for_each_channel


@pytest.mark.parametrize("count", [1, 4])
def test_results_come_in_the_order_of_the_channels(count: int) -> None:
    assert for_each_channel(lambda item: item**2, range(count)) == [item**2 for item in range(count)]


def test_the_first_channel_that_fails_is_the_one_that_is_told_of() -> None:
    def refuse(item: int) -> None:
        if item:
            raise InputError(f"channel {item}")

    with pytest.raises(InputError, match="channel 1"):
        for_each_channel(refuse, range(3))
