"""`python -m docs.generate` writes every page's generated parts anew; `make docs` calls it."""

from docs.generate.pages import pages, regenerated

for page in pages():
    page.write_text(regenerated(page))
