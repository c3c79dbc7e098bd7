"""Results: the segmentation, its numbers, its pictures and its report."""
