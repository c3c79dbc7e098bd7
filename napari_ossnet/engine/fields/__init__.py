"""Continuous fields over a scan: what a trained network becomes once a volume is encoded."""
