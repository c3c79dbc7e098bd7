"""The networks, one box of the papers' figures a file, and their variants as data."""
