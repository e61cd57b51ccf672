"""Tests of one module at a time, with no process and no server."""
