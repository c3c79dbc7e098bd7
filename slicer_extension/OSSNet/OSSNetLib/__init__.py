"""What the OSS-Net module is made of; ``OSSNet.py`` holds only the classes that Slicer demands."""
