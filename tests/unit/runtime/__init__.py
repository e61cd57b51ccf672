"""Tests of `runnelctl.runtime` without processes."""
