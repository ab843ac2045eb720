"""The engine under every question: inputs become jobs, jobs are shown to the model, outcomes are written and kept."""
