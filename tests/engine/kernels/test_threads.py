"""Independent pieces of work on the CPU's cores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from napari_ossnet.engine.kernels.threads import run_in_threads


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_pieces_write_into_what_the_caller_has_made(mode: type) -> None:
    with mode():
        result = torch.zeros(8, 3)
        run_in_threads(lambda row: torch.mul(torch.ones(3), row, out=result[row]), range(8))
    assert torch.equal(result[:, 0], torch.arange(8.0))


@pytest.mark.usefixtures("two_threads")
def test_an_error_in_a_piece_comes_out() -> None:
    def fail(piece: int) -> None:
        if piece == 3:
            raise ValueError("piece 3")

    with pytest.raises(ValueError, match="piece 3"):
        run_in_threads(fail, range(6))
