"""The other file formats: PNG, JPEG, TIFF, NPY."""
