"""Plots of results as SVG, one for light pages and one for dark ones. The same numbers give the same file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle


@dataclass(frozen=True)
class Colours:
    """Of one theme, by what a bar stands for; all can be told apart by those who see no red or green."""

    text: str
    grid: str
    esfeed: str
    peer: str
    bound: str


THEMES = {
    "light": Colours("#1b1f24", "#d8dee4", "#0a5fb4", "#a4adb8", "#d9b26a"),
    "dark": Colours("#e6e9ee", "#3a4048", "#6cb6ff", "#7d8793", "#c7974a"),
}
_WORDS = {"esfeed": "esfeed", "peer": "other programs", "bound": "bounds: parse no document, or read none"}


@dataclass(frozen=True)
class Bar:
    """One row: the median, and the least and the most of all runs."""

    name: str
    kind: str
    middle: float
    least: float
    most: float


def bars(bars: Sequence[Bar], unit: str, path: Path) -> None:
    """Horizontal bars, the longest first, as ``path``-light.svg and ``path``-dark.svg."""
    ordered = sorted(bars, key=lambda bar: bar.middle)
    for theme, colours in THEMES.items():
        figure, axes = _begin(colours, (8.6, 0.36 * len(ordered) + 1.1))
        places = range(len(ordered))
        axes.barh(places, [bar.middle for bar in ordered], color=[getattr(colours, bar.kind) for bar in ordered])
        for place, bar in zip(places, ordered, strict=True):
            axes.plot([bar.least, bar.most], [place, place], color=colours.text, linewidth=1)
            axes.annotate(
                f"{bar.middle:,.0f}", (max(bar.most, bar.middle), place), (5, 0), textcoords="offset points",
                va="center", fontsize=9, color=colours.text,
            )  # fmt: skip
        axes.set_yticks(list(places), [bar.name for bar in ordered])
        axes.set_xlabel(unit, color=colours.text)
        axes.set_xlim(0, max(bar.most for bar in ordered) * 1.13)
        axes.xaxis.set_major_formatter(lambda value, place: f"{value:,.0f}")
        axes.grid(axis="x", color=colours.grid, linewidth=0.6)
        kinds = [kind for kind in _WORDS if any(bar.kind == kind for bar in ordered)]
        patches = [Rectangle((0, 0), 1, 1, color=getattr(colours, kind)) for kind in kinds]
        if len(kinds) > 1:
            axes.legend(
                patches, [_WORDS[kind] for kind in kinds], loc="lower right", frameon=False, labelcolor=colours.text
            )
        _save(figure, path.with_name(f"{path.name}-{theme}.svg"))


def lines(series: dict[str, Sequence[tuple[float, float]]], across: str, up: str, path: Path) -> None:
    """Lines over a logarithmic axis, both files as above."""
    for theme, colours in THEMES.items():
        figure, axes = _begin(colours, (8.6, 3.4))
        styles = [(colours.esfeed, "o"), (colours.bound, "s"), (colours.peer, "^"), (colours.text, "D")]
        for (name, points), (colour, mark) in zip(series.items(), styles, strict=False):
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, color=colour, marker=mark, label=name)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, place: f"{value:,.0f}")
        axes.set_ylim(bottom=0)
        axes.set_xlabel(across, color=colours.text)
        axes.set_ylabel(up, color=colours.text)
        axes.grid(color=colours.grid, linewidth=0.6)
        axes.legend(frameon=False, labelcolor=colours.text)
        _save(figure, path.with_name(f"{path.name}-{theme}.svg"))


def over_time(series: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str, path: Path) -> None:
    """Lines without marks over even axes from 0, both files as above."""
    for theme, colours in THEMES.items():
        figure, axes = _begin(colours, (8.6, 3.4))
        shades = (colours.esfeed, colours.peer, colours.bound)
        for (name, points), colour in zip(series.items(), shades, strict=False):
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, color=colour, label=name, linewidth=1.2)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(across, color=colours.text)
        axes.set_ylabel(up, color=colours.text)
        axes.grid(color=colours.grid, linewidth=0.6)
        axes.legend(frameon=False, labelcolor=colours.text, loc="lower right")
        _save(figure, path.with_name(f"{path.name}-{theme}.svg"))


def _begin(colours: Colours, size: tuple[float, float]) -> tuple[Figure, Axes]:
    # Text stays text: it can be searched, read aloud, and takes the page's own font.
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "esfeed", "font.family": "sans-serif"})
    figure, axes = plt.subplots(figsize=size)
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    axes.set_axisbelow(True)
    axes.tick_params(colors=colours.text, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    # Lines that end in white space are no business of a repository's.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
