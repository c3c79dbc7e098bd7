"""Scans made by code, with known truth: the demo, the tests, synthetic training."""

from __future__ import annotations

from napari_ossnet.engine.phantom.brain import DEMO_SEED, Phantom, demo_phantom, make_brain_phantom

__all__ = ["DEMO_SEED", "Phantom", "demo_phantom", "make_brain_phantom"]
