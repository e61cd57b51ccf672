"""Tests that start, kill and pause real processes."""
