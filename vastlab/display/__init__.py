"""What events look like: Arrow tables become text, HTML and figures, and nothing is written."""
