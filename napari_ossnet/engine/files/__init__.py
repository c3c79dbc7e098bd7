"""Files: reading scans, writing masks, meshes and maps, each whole or not at all."""
