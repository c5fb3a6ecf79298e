"""Lines and rows for people."""

HEADINGS = ["case", "macswap ns", "5tswap ns", "tidegate ns", "min..max", "Mpps/core", "ratio", "min..max", "new conn/s", "CPU", "steal",
            "notes"]
RIGHT = set(range(1, 11))


def middle(value, digits=1, factor=1.0, unit=""):
    """A spread's median, or a dash."""
    return "-" if value is None else f"{value['median'] * factor:.{digits}f}{unit}"


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
    for key, words in (("against_ratio", "times as fast as --against"), ("cost", "times the cost of random flows"),
                       ("reload_cost", "times the cost without reloads"), ("capture_cost", "times the cost without a capture"),
                       ("speed_in_flood", "of the speed without a flood")):
        if result.get(key):
            said.append(f"{middle(result[key], 3)} [{bounds(result[key], 3)}] {words}")
    if result.get("share_new"):
        said.append(f"{middle(result['share_new'], 1, 100)} % of the packets open a connection")
    return "; ".join(said + result.get("notes", []))


def row(result):
    """A case in the table."""
    get = result.get
    return [result["case"], middle(get("macswap_ns")), middle(get("5tswap_ns")), middle(get("tidegate_ns")), bounds(get("tidegate_ns")),
            middle(get("mpps_per_core"), 2), middle(get("ratio"), 3), bounds(get("ratio"), 3),
            middle(get("connections_per_s"), 2, 1e-6, " M"), middle(get("cpu_share"), 0, 100, " %"),
            middle(get("steal_share"), 0, 100, " %"), notes(result)]


def summary(result):
    """A case in its progress line."""
    if "failed" in result or "skipped" in result:
        return notes(result)
    created = result.get("connections_per_s")
    said = [f"testpmd {middle(result['macswap_ns'])} ns, tidegate {middle(result['tidegate_ns'])} ns a packet",
            f"ratio {middle(result['ratio'], 3)} [{bounds(result['ratio'], 3)}]"]
    if created:
        said.append(f"{middle(created, 2, 1e-6)} M new connections/s")
    return "; ".join(filter(None, [", ".join(said), notes(result)]))
