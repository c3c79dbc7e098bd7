"""Scans made by code, with known truth: the demo, the tests, synthetic training."""

from __future__ import annotations
