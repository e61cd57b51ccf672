"""Parts of the command line, in memory."""
