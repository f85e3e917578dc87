"""What a demo's page shows, read as a person would: from its cells."""

import json
import re

import numpy as np
import pytest

READ = """(name) => [...document.querySelectorAll(name)].map(table =>
    [...table.rows].map(row => [...row.cells].map(cell => cell.textContent)))"""

LIES_ON = """([k, i, j, F, S]) => [...document.querySelectorAll("#input .slice")].map(slice => {
    const window = slice.querySelector(".window");
    if (window.hidden) return null;
    const box = (element) => element.getBoundingClientRect();
    const rows = slice.querySelector("table").rows;
    const [first, last] = [rows[i * S].cells[j * S], rows[i * S + F - 1].cells[j * S + F - 1]];
    const [is, a, b] = [window, first, last].map(box);
    const off = [is.left - a.left, is.top - a.top, is.right - b.right, is.bottom - b.bottom];
    return Math.max(...off.map(Math.abs));
})"""


class Opened:
    """A page of a demo in the browser."""

    def __init__(self, page):
        self.page = page

    def numbers(self, name):
        """The tables within `name`, [tables, rows, columns]."""
        tables = self.page.evaluate(READ, f"{name} table")
        return np.array([[[number(text) for text in row] for row in rows] for rows in tables])

    def type(self, **settings):
        for name, value in settings.items():
            self.page.fill(f"[name={name}]", str(value))

    def text(self, name):
        return plain(self.page.inner_text(name))

    def at(self):
        """(k, i, j) of the highlighted cell of the output."""
        cell = self.page.locator("#output [aria-selected=true]")
        return tuple(map(int, cell.get_attribute("data-at").split()))

    def window_is_off(self, kernel, stride):
        """Pixels between the window and the cells it should lie on, for each slice of the input."""
        return self.page.evaluate(LIES_ON, [*self.at(), kernel, stride])


def number(text):
    return float(plain(text))


def plain(text):
    return text.replace("\N{MINUS SIGN}", "-").replace("\N{MULTIPLICATION SIGN}", "x")


@pytest.fixture
def still(visit):
    """Opens a page for someone who asked for little motion: nothing plays by itself."""

    def still(page, **window):
        return Opened(visit(page.html, reduced_motion="reduce", **window))

    return still


@pytest.fixture
def embedded():
    """The numbers that a page starts with."""
    return lambda page: json.loads(re.search(r"const page = (.*);", page.html)[1])


@pytest.fixture
def offers():
    """What geometry's error names as nearest, by the notes' letters, within the page's limits."""
    letters = {"input size": "W", "kernel": "F", "stride": "S", "padding": "P"}

    def offers(error, limits):
        listed = re.search(r"one changed at a time: (.*?); or fit", str(error))[1]
        found = (re.fullmatch(r"(.*?) (\d+)(?: or (\d+))?", part) for part in listed.split(", "))
        named = (
            (letters[one[1]], int(value)) for one in found for value in one.groups()[1:] if value
        )
        return {
            f"{letter} = {value}"
            for letter, value in named
            if letter in limits and limits[letter][0] <= value <= limits[letter][1]
        }

    return offers
