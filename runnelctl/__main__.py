"""`python -m runnelctl` is `runnelctl`."""

from runnelctl.cli.main import main

main()
