"""A compact JAX trainer for knowledge-insulated vision-language-action models."""
