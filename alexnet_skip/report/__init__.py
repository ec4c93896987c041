"""The report: one page that shows all that a study or a run has left on disk."""
