"""A forum as facts: who says that something happened, and who reacts."""
