"""Grades notebooks: `pytest --nbval NOTEBOOK`."""

pytest_plugins = ["instructor.grading.plugin"]
