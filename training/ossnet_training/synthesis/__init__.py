"""Synthetic scans for training: heads from label maps, from real scans without tumour, or made by code."""

from __future__ import annotations
