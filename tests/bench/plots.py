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
        for label, points in series.items():
            wide = 2.5 if label.startswith("vipnft") else 1.2
            pyplot.plot(*zip(*points, strict=True), marker="o", markersize=3, lw=wide, label=label)
        pyplot.xscale("log", base=2)
        pyplot.yscale("log")
        ticks = sorted({point[0] for points in series.values() for point in points})
        pyplot.xticks(ticks, [f"{tick:g}" for tick in ticks])
        pyplot.xlabel(x)
        pyplot.ylabel(y)
        pyplot.legend(fontsize=8)

    return _both(name, draw, height=4)


def _both(name: str, draw: Callable[[], None], height: float) -> str:
    HERE.mkdir(exist_ok=True)
    for theme, style in _THEMES.items():
        settings = {"svg.hashsalt": name, "font.size": 9, "svg.fonttype": "none"}
        with pyplot.style.context(style), matplotlib.rc_context(settings):
            pyplot.figure(figsize=(7, height))
            draw()
            pyplot.tight_layout()
            file = HERE / f"{name}-{theme}.svg"
            pyplot.savefig(file, transparent=True, metadata={"Date": None, "Creator": None})
            pyplot.close()
    dark, light = (f"plots/{name}-{theme}.svg" for theme in ("dark", "light"))
    source = f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
    return f'<picture>{source}<img alt="{name}" src="{light}"></picture>'
