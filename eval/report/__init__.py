"""Reports: tables, figures, Markdown, HTML, the terminal, W&B."""
