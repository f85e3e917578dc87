"""Web pages that need nothing but themselves: to save, to show in a notebook, to serve."""

from cnnlab.pages.page import Page, render

__all__ = ["Page", "render"]
