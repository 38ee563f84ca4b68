"""The documentation as a site: what MkDocs needs to know beyond mkdocs.yml (`make docs`).

links.py finds and moves links of Markdown pages; repository.py makes pages of files outside docs/ that pages link to; names.py makes
the API pages of docs/api.md; commands.py runs every command's --help; hooks.py is what MkDocs calls. Only hooks.py imports MkDocs.
"""
