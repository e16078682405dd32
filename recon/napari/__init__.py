"""Plugin for napari: an image layer restored, with progress and verdict. Importing it does not import napari."""
