"""The buckets as a picture: owner by colour, load by brightness. For terminals."""

import colorsys
import math

from rich.console import Group
from rich.style import Style
from rich.text import Text

from vipnft.observe.status_report import StatusReport, text
from vipnft.shown import printable

_COLUMNS = 32
_DIM = 0.25  # brightness of a bucket without traffic
_GOLDEN = 0.618033988749895  # consecutive hues far apart, however many hosts there are


def draw(report: StatusReport) -> Group:
    """Return a status report as text with the picture of its buckets and a legend below."""
    owners, packets = report.owners, report.load
    hosts = list(dict.fromkeys([*report.hosts, *owners]))
    busiest = max(packets, default=0)
    moving = {b for one in report.moving for b in one.buckets}
    picture = Text()
    for b, owner in enumerate(owners):
        glyph = "▒▒" if b in moving else "██"
        hue = hosts.index(owner)
        picture.append(glyph, Style(color=colour(hue, brightness(packets[b], busiest))))
        if b % _COLUMNS == _COLUMNS - 1:
            picture.append("\n")
    legend = Text("\n")
    for hue, host in enumerate(hosts):
        share = owners.count(host) / len(owners)
        load = sum(p for b, p in enumerate(packets) if owners[b] == host)
        legend.append("██ ", Style(color=colour(hue, 1.0)))
        legend.append(f"{printable(host)}  {share:.1%} of the buckets, {load:,} packets\n")
    if moving:
        legend.append("▒▒ on the move\n")
    return Group(Text(text(report)), Text(""), picture, legend)


def brightness(packets: int, busiest: int) -> float:
    """Return 0.25 for an idle bucket to 1.0 for the busiest one, by the logarithm."""
    if packets <= 0 or busiest <= 0:
        return _DIM
    return _DIM + (1 - _DIM) * math.log1p(packets) / math.log1p(busiest)


def colour(hue: int, bright: float) -> str:
    """Return the colour of the host at place `hue` in the file, as #rrggbb."""
    red, green, blue = colorsys.hsv_to_rgb(hue * _GOLDEN % 1.0, 0.65, bright)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
