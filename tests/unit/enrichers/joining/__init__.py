"""Tests of the enricher that joins names that were heard to connections."""
