"""Faults are tried on the same uploads as the engine, and on an installation as commands are."""

from tests.commands.conftest import config_file, data_folder
from tests.faults.planting import logged, planted, searcher
from tests.ingest.conftest import drive, fill, home, upload

__all__ = ["config_file", "data_folder", "drive", "fill", "home", "logged", "planted", "searcher", "upload"]
