"""Junk on purpose: payloads that no client of ours would write, and topology files that nobody would."""
