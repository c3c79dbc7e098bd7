"""The napari front end; it knows the engine, and the engine does not know it."""
