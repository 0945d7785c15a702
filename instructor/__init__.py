"""The instructor's tools: python -m instructor check | execute | handout | grade | compare."""
