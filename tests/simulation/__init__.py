"""A whole cluster in one thread: real decisions, a made-up clock, network and store, and faults that a seed decides."""
