"""What happens when something has happened to a thread. No handler knows of another."""

from __future__ import annotations

from runnelctl import Context, Event, Reject


def summarise(event: Event, ctx: Context) -> None:
    """The thread's figures: posts, who took part, and the last word. Right only if its facts come in order, once."""
    fact, thread = event.value, ctx.state
    context = fact["context"]
    if fact["type"] == "ThreadOpened":
        thread |= {"title": context.get("title", ""), "posts": 0, "people": [], "texts": {}}
    elif "texts" not in thread:
        raise Reject(f"{fact['type']} before its thread was opened")
    elif fact["type"] == "PostRemoved":
        thread["texts"].pop(context["post"], None)
    else:
        thread["texts"][context["post"]] = context.get("text", "")
    if context["by"] not in thread["people"]:
        thread["people"].append(context["by"])
    thread["posts"], thread["last"] = len(thread["texts"]), fact["type"]


def notify(event: Event, ctx: Context) -> None:
    """A mail to everybody who took part before. The mails go out with this event's commit, or not at all."""
    context, known = event.value["context"], ctx.state.setdefault("people", [])
    for reader in known:
        if reader != context["by"]:
            ctx.emit("mails", {"to": reader, "thread": event.key, "by": context["by"], "post": context.get("post")})
    if context["by"] not in known:
        known.append(context["by"])


async def index(events: list[Event], ctx: Context) -> None:
    """The words of each post, as a search engine's bulk interface would take them."""
    for event in events:
        words = ctx.state_of(event.key)
        context = event.value["context"]
        if event.value["type"] == "PostRemoved":
            words.pop(context["post"], None)
        else:
            words[context["post"]] = sorted(set(context["text"].lower().split()))


def deliver(event: Event, ctx: Context) -> None:
    """Count instead of sending."""
    ctx.state["mails"] = ctx.state.get("mails", 0) + 1
