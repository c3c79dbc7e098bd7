"""Loops that numba compiles for the CPU where it is installed (extra ``fast``); torch computes the same without it."""
