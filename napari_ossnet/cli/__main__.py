"""``python -m napari_ossnet.cli``, which is also how torchrun starts the command."""

from __future__ import annotations

import sys

from napari_ossnet.cli import main

sys.exit(main())
