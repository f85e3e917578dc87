"""What a network is and does, without training it."""

from cnnlab.analysis.summary import Row, Summary, summarize

__all__ = ["Row", "Summary", "summarize"]
