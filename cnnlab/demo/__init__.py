"""Pages that show a layer at work: its window slides, and every number can be written out.

The numbers at the start are by `cnnlab.ops`; when a setting is changed in the page, its own script
computes them anew.
"""

from cnnlab.demo.convolution import convolution
from cnnlab.demo.pooling import pooling

__all__ = ["convolution", "pooling"]
