"""Evaluation protocols of the papers: how good masks, objects and parts are, measured against ground truth."""
