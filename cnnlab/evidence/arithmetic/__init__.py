"""The notes' arithmetic, claim by claim: what they say, what we compute, and where they slip."""

from cnnlab.evidence.arithmetic.claims import (
    ARITHMETIC_CLAIMS,
    ArithmeticClaim,
    arithmetic_table,
)
from cnnlab.evidence.arithmetic.finding import Finding

__all__ = ["ARITHMETIC_CLAIMS", "ArithmeticClaim", "Finding", "arithmetic_table"]
