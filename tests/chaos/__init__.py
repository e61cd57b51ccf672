"""Load, faults and a checker: what the promises are held against."""
