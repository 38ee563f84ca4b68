"""`fasttok-pipelines datasets`: the catalogue of dataset entries, and drafts of new ones."""
