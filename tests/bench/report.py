"""Lines and rows for people."""

HEADINGS = ["case", "macswap ns", "5tswap ns", "tidegate ns", "min..max", "Mpps", "ratio", "min..max", "new conn/s", "steal", "notes"]
RIGHT = {1, 2, 3, 4, 5, 6, 7, 8, 9}


def number(value, digits=1, factor=1.0):
    """A spread's median, or a dash."""
    return "-" if value is None else f"{value['median'] * factor:.{digits}f}"


def bounds(value, digits=1):
    """A spread's ends."""
    return "-" if value is None else f"{value['min']:.{digits}f}..{value['max']:.{digits}f}"


def notes(result):
    """What else there is to say about a case."""
    if "failed" in result:
        return "FAILED: " + result["failed"]
    if "skipped" in result:
        return "not measured: " + result["skipped"]
    said = []
    for key, words in (("against_ratio", "{} x the speed of --against"), ("cost", "{} x the cost of the plain case")):
        if result.get(key):
            said.append(words.format(f"{number(result[key], 3)} [{bounds(result[key], 3)}]"))
    said += result.get("notes", [])
    return "; ".join(said)


def row(result):
    """A case in the table."""
    get = result.get
    return [result["case"], number(get("macswap_ns")), number(get("5tswap_ns")), number(get("tidegate_ns")), bounds(get("tidegate_ns")),
            number(get("tidegate_mpps"), 2), number(get("ratio"), 3), bounds(get("ratio"), 2),
            number(get("connections_per_s"), 2, 1e-6) + ("" if get("connections_per_s") is None else " M"),
            number(get("steal_share"), 0, 100) + ("" if get("steal_share") is None else " %"), notes(result)]


def summary(result):
    """A case in its progress line."""
    if "failed" in result or "skipped" in result:
        return notes(result)
    created = result.get("connections_per_s")
    return (f"testpmd {number(result['macswap_ns'])} ns, tidegate {number(result['tidegate_ns'])} ns a packet, "
            f"ratio {number(result['ratio'], 3)} [{bounds(result['ratio'], 3)}]"
            + (f", {number(created, 2, 1e-6)} M new connections/s" if created else "")
            + (f"; {notes(result)}" if notes(result) else ""))
