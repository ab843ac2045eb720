"""What becomes of a finished run: exports to other tools, and the command that makes an output again."""
