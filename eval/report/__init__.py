"""Numbers written down: tables, pictures, Markdown, HTML, the terminal, W&B."""
