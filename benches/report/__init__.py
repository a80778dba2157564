"""What a run found: rows with their verdicts, and the page and the picture made of them."""
