"""The documentation as a site: what MkDocs needs to know beyond mkdocs.yml (`make docs`).

links        finds and moves links of Markdown pages
repository   makes pages of files outside docs/ that pages link to
names        makes the API pages of docs/api.md
commands     runs every command's --help
hooks        is what MkDocs calls; nothing else here imports MkDocs
description  README.md as the package's long description
picture      draws docs/images/tokens.svg
"""
