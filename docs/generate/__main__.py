"""`python -m docs.generate` writes the generated parts of every page, and the figures that no verb draws."""

from docs.generate.figures import draw_figures
from docs.generate.pages import pages, regenerated

draw_figures()
for page in pages():
    page.write_text(regenerated(page), encoding="utf-8", newline="\n")
