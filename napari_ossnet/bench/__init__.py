"""The benchmark: our path beside the published form, in one process, as ratios; ``ossnet bench`` runs it."""
