"""DICOM: reading, frames, positions in the patient, derived and new series."""
