"""The engine: from a scan to a mask, without knowing any front end."""
