"""Diagnosis of this machine: faults, and what to do about each."""
