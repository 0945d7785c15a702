"""The instructor's tools: python -m instructor execute | handout | grade | compare."""
