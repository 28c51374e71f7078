"""Track files of other programs: each module reads a file into `Tracks` and writes it back."""
