"""Grades notebooks: `pytest --nbval NOTEBOOK`."""

pytest_plugins = ["instructor.nbval_plugin"]
