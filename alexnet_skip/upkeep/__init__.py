"""What a command would take, what lies in the cache and among the runs, and what may go."""
