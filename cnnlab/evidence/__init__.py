"""Evidence: claims, ablations, the ledger of their runs, statistics, verdicts and reports."""

from cnnlab.evidence.ablation import Ablation, blank_config, preset_of
from cnnlab.evidence.arithmetic import ARITHMETIC_CLAIMS, ArithmeticClaim, arithmetic_table
from cnnlab.evidence.claim import Claim, Comparison, PaperFigure
from cnnlab.evidence.costs import costs
from cnnlab.evidence.curves import curves
from cnnlab.evidence.ledger import Ledger
from cnnlab.evidence.overview import Result
from cnnlab.evidence.page import evidence_page, report_page
from cnnlab.evidence.published import empirical_table
from cnnlab.evidence.records import read_records, write_records
from cnnlab.evidence.report import print_report, write_report
from cnnlab.evidence.selection import RateNotChosen, tune
from cnnlab.evidence.settings import (
    DEEP_RATES,
    digits_recipe,
    digits_setting,
    long_digits_setting,
    long_setting,
    short_setting,
)
from cnnlab.evidence.sweep import CannotSweep
from cnnlab.evidence.verdict import Verdict, judge_claim
from cnnlab.training import ForeignRecord

__all__ = [
    "ARITHMETIC_CLAIMS",
    "DEEP_RATES",
    "Ablation",
    "ArithmeticClaim",
    "CannotSweep",
    "Claim",
    "Comparison",
    "ForeignRecord",
    "Ledger",
    "PaperFigure",
    "RateNotChosen",
    "Result",
    "Verdict",
    "arithmetic_table",
    "blank_config",
    "costs",
    "curves",
    "digits_recipe",
    "digits_setting",
    "empirical_table",
    "evidence_page",
    "judge_claim",
    "long_digits_setting",
    "long_setting",
    "preset_of",
    "print_report",
    "read_records",
    "report_page",
    "short_setting",
    "tune",
    "write_records",
    "write_report",
]
