"""Tests of `runnelctl.topology`."""
