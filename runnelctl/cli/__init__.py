"""The command line: one file per command, thin: load, call, render, return."""
