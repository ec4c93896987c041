"""Run folders: what lies in them, how they are found, opened and read again."""
