"""Tests of the demo in `topologies`: its input, its handlers, its expected result."""
