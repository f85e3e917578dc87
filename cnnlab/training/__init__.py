"""Training: `run` takes a recipe and a folder and gives the record of a trained network."""

from cnnlab.training.checkpoint import RestoreFailed, SaveFailed
from cnnlab.training.folder import ForeignRecord
from cnnlab.training.interrupt import EXIT_INTERRUPTED, Interrupted
from cnnlab.training.loop import NotFinite
from cnnlab.training.recipe import Recipe, RecipeError, recipe_of
from cnnlab.training.record import Record, UnusableFolder
from cnnlab.training.run import OutOfMemory, inspect, run

__all__ = [
    "EXIT_INTERRUPTED",
    "ForeignRecord",
    "Interrupted",
    "NotFinite",
    "OutOfMemory",
    "Recipe",
    "RecipeError",
    "Record",
    "RestoreFailed",
    "SaveFailed",
    "UnusableFolder",
    "inspect",
    "recipe_of",
    "run",
]
