"""Tests of `runnelctl.runtime` in this process, on real servers."""
