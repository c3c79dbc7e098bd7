"""OSS-Net segmentation of 3D medical scans: engine, command line and napari front end."""

__version__ = "0.1.0"
