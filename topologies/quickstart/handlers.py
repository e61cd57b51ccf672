"""One plain function. It runs in its own process, one event at a time for each partition, in order."""

from __future__ import annotations

from runnelctl import Context, Event


def show(event: Event, ctx: Context) -> None:
    """Print the order, and how many this user has placed so far. Raise, and it is tried again."""
    ctx.state["orders"] = ctx.state.get("orders", 0) + 1  # kept in Redis, together with the event's commit
    order = event.value
    print(f"{order['user']} wants {order.get('quantity', 1)} x {order['item']} (order {ctx.state['orders']})")
