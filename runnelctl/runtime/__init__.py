"""Three kinds of process and one board: supervisor, keeper, slices."""
