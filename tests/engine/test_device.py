"""Devices, budgets and peaks."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_ossnet.engine.device import (
    LARGEST_CHUNK,
    SMALLEST_CHUNK,
    choose_device,
    chunk_size_for,
    format_bytes,
    list_devices,
    parse_memory,
    peak_memory_bytes,
    release_memory,
)
from napari_ossnet.engine.errors import DeviceError, InputError


def a_field(bytes_per_location: int) -> SimpleNamespace:
    return SimpleNamespace(bytes_per_location=bytes_per_location, device=torch.device("cpu"))


def test_the_cpu_is_always_there_and_comes_last() -> None:
    devices = list_devices()
    assert devices[-1].name == "cpu"
    assert 0 < (devices[-1].free_bytes or 0) <= (devices[-1].total_bytes or 0)


def test_auto_takes_the_first_of_the_list() -> None:
    assert str(choose_device("auto")) == list_devices()[0].name


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cpu:1"])
def test_a_name_that_is_no_device_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError, match="auto, cpu, cuda"):
        choose_device(name)


def test_a_device_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(DeviceError, match=r"no device cuda:97 here, only .*cpu"):
        choose_device("cuda:97")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GiB", 2**31),
        ("1.5 GB", 1_500_000_000),
        ("800M", 800_000_000),
        ("800mib", 800 * 2**20),
        ("4000000", 4_000_000),
    ],
)
def test_memory_is_read_in_both_kinds_of_units(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "much", "-2GiB", "2 GiB more", "GiB", "2"])
def test_a_memory_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="2GiB"):
        parse_memory(text)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (812 * 2**20, "812 MiB"), (2**42, "4096 GiB")]
)
def test_sizes_are_written_as_people_read_them(size: int, text: str) -> None:
    assert format_bytes(size) == text


def test_the_chunk_follows_the_budget_between_its_bounds() -> None:
    assert chunk_size_for(2**30, a_field(2**16)) == 2**14
    assert chunk_size_for(1, a_field(2**16)) == SMALLEST_CHUNK
    assert chunk_size_for(2**45, a_field(2**10)) == LARGEST_CHUNK
    assert SMALLEST_CHUNK <= chunk_size_for(None, a_field(2**16)) <= LARGEST_CHUNK


def test_the_peak_grows_with_what_was_held_and_stays() -> None:
    before = peak_memory_bytes()
    block = np.ones(64 * 2**20 // 8 + before // 8)
    assert peak_memory_bytes() >= before + 60 * 2**20
    del block
    release_memory()
    assert peak_memory_bytes() >= before + 60 * 2**20


def test_a_child_does_not_report_its_parents_peak() -> None:
    block = np.ones(300 * 2**20 // 8)
    code = "from napari_ossnet.engine.device import peak_memory_bytes; print(peak_memory_bytes())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True)
    assert int(child.stdout) < block.nbytes
