"""The model: equations (`blocks`), their composition (`crate`), timm's ViTs (`vit`), names for timm (`zoo`).

This file imports nothing, so that reading a config never costs a torch import.
"""
