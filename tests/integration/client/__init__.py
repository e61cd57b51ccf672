"""The sending clients against real servers."""
