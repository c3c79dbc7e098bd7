"""``ossnet info``: what a bug report needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_ossnet import __version__

Run = Callable[..., Any]


def test_it_names_versions_devices_and_weights(ossnet: Run, small_weights: Path) -> None:
    out = ossnet("info").out
    for words in (__version__, torch.__version__, np.__version__, "cpu", "small (small, c)"):
        assert words in out


def test_as_json_it_can_be_read_by_programs(ossnet: Run, a_home: Path) -> None:
    facts = json.loads(ossnet("info", "--json").out)
    assert facts["napari-ossnet"] == __version__
    assert facts["packages"]["torch"] == torch.__version__
    assert facts["devices"][-1]["name"] == "cpu"
    assert facts["home"] == str(a_home)
