"""Surfaces: from a field's logits to meshes in mm."""
