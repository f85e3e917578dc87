"""What a network is and does, without training it."""

from cnnlab.analysis.memory import Memory
from cnnlab.analysis.summary import Row, Summary, summarize
from cnnlab.analysis.trace import activations

__all__ = ["Memory", "Row", "Summary", "activations", "summarize"]
