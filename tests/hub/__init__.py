"""A local Hugging Face hub for tests and demonstrations, from the standard library alone."""

from .content import Content, Data, File, Joined, Synthetic
from .control import call
from .faults import Fault
from .hub import Hub
from .repos import Commit, Entry, Repo
from .requestlog import Record

__all__ = [
    "Commit",
    "Content",
    "Data",
    "Entry",
    "Fault",
    "File",
    "Hub",
    "Joined",
    "Record",
    "Repo",
    "Synthetic",
    "call",
]
