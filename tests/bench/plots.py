"""Figures as SVG, for light pages and for dark ones."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

HERE = Path(__file__).parents[2] / "docs/plots"
_THEMES = {"light": "default", "dark": "dark_background"}


def bars(name: str, unit: str, values: Mapping[str, tuple[float, float, float]]) -> str:
    """Draw a bar for each value, with its middle half; return the document's lines for it."""

    def draw() -> None:
        names = list(values)[::-1]
        middles = [values[n][0] for n in names]
        spread = [
            [max(0.0, values[n][0] - values[n][1]) for n in names],
            [max(0.0, values[n][2] - values[n][0]) for n in names],
        ]
        colours = ["#d95f02" if n.startswith("vipnft") else "#7f8fa6" for n in names]
        pyplot.barh(names, middles, xerr=spread, color=colours, ecolor="#999999")
        pyplot.xlabel(unit)

    return _both(name, draw, height=0.5 * len(values) + 1)


def lines(name: str, x: str, y: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw a line for each series, on logarithmic axes; return the document's lines for it."""

    def draw() -> None:
        _curves(x, y, series)
        pyplot.xscale("log", base=2)
        pyplot.yscale("log")
        pyplot.gca().yaxis.set_major_formatter("{x:g}")
        pyplot.gca().yaxis.set_minor_formatter("{x:g}")
        ticks = sorted({point[0] for points in series.values() for point in points})
        pyplot.xticks(ticks, [f"{tick:g}" for tick in ticks])

    return _both(name, draw, height=4)


def curves(name: str, x: str, y: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw a line for each series, on axes from 0; return the document's lines for it."""

    def draw() -> None:
        _curves(x, y, series)
        pyplot.xlim(left=0)
        pyplot.ylim(bottom=0)

    return _both(name, draw, height=4)


def _curves(x: str, y: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    for label, points in series.items():
        wide = 2.5 if label.startswith("vipnft") else 1.2
        pyplot.plot(*zip(*points, strict=True), marker="o", markersize=3, lw=wide, label=label)
    pyplot.xlabel(x)
    pyplot.ylabel(y)
    pyplot.legend(fontsize=8)


def steps(name: str, x: str, panels: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Draw, in a panel each, what share of each series is at most x (an axis that is logarithmic);
    return the document's lines for it."""

    def draw() -> None:
        figure = pyplot.gcf()
        places = figure.subplots(len(panels) // 2, 2, sharex=True, sharey=True).flat
        for place, (title, series) in zip(places, panels.items(), strict=True):
            for number, (label, values) in enumerate(series.items()):
                wide, line = (2, "-") if label.startswith("vipnft") else (1.2, "--")
                place.ecdf(values, lw=wide, ls=line, color=f"C{number}", label=label)
            place.set_title(title, fontsize=9)
            place.set_xscale("log")
            place.xaxis.set_major_formatter("{x:g}")
        figure.axes[-1].legend(fontsize=7, loc="center right")
        figure.supxlabel(x, fontsize=9)
        figure.supylabel("share of clients", fontsize=9)

    return _both(name, draw, height=2.4 * len(panels) // 2 + 0.8)


def _both(name: str, draw: Callable[[], None], height: float) -> str:
    HERE.mkdir(exist_ok=True)
    for theme, style in _THEMES.items():
        settings = {"svg.hashsalt": name, "font.size": 9, "svg.fonttype": "none"}
        nobody = {"Date": None, "Creator": None}
        with pyplot.style.context(style), matplotlib.rc_context(settings):
            pyplot.figure(figsize=(7, height))
            draw()
            pyplot.tight_layout()
            file = HERE / f"{name}-{theme}.svg"
            pyplot.savefig(file, transparent=True, metadata=nobody, bbox_inches="tight")
            pyplot.close()
    dark, light = (f"plots/{name}-{theme}.svg" for theme in ("dark", "light"))
    source = f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
    return f'<picture>{source}<img alt="{name}" src="{light}"></picture>'
