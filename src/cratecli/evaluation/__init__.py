"""The papers' protocols: how good a model's masks, objects and parts are by truth."""
